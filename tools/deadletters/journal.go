// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"math/bits"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/deadletter"
)

// journal remembers in a file beside the letters which of their samples have been sent, so that a command that was stopped can
// be repeated. Each line is the name of a letter with the numbers of some samples, as in "NAME 0-57 60-99 .".
type journal struct {
	directory string
	sent      map[string]numbers
	file      *os.File // open once something is added
}

// numbers is a set of small numbers, a bit for each.
type numbers []uint64

func (n *numbers) add(i int) {
	for i/64 >= len(*n) {
		*n = append(*n, 0)
	}
	(*n)[i/64] |= 1 << (i % 64)
}

func (n numbers) has(i int) bool { return i/64 < len(n) && n[i/64]>>(i%64)&1 == 1 }

func (n numbers) len() (count int) {
	for _, word := range n {
		count += bits.OnesCount64(word)
	}
	return count
}

func (n numbers) all() (all []int) {
	for i := range 64 * len(n) {
		if n.has(i) {
			all = append(all, i)
		}
	}
	return all
}

const journalName = "sent.log"

func openJournal(directory string) (*journal, error) {
	j := &journal{directory: directory, sent: map[string]numbers{}}
	file, err := os.Open(j.path())
	if errors.Is(err, fs.ErrNotExist) {
		return j, nil
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		// A line that was cut off by a crash says nothing: its samples are sent again.
		if name, sent, ok := parseEntry(lines.Text()); ok {
			j.note(name, sent)
		}
	}
	return j, lines.Err()
}

func parseEntry(line string) (name string, sent []int, ok bool) {
	fields := strings.Fields(line)
	if len(fields) < 3 || fields[len(fields)-1] != "." {
		return "", nil, false
	}
	for _, field := range fields[1 : len(fields)-1] {
		from, to, _ := strings.Cut(field, "-")
		first, err1 := strconv.Atoi(from)
		last, err2 := strconv.Atoi(to)
		if err1 != nil || err2 != nil {
			return "", nil, false
		}
		for i := first; i <= last; i++ {
			sent = append(sent, i)
		}
	}
	return fields[0], sent, true
}

// entry is a line of the journal. The full stop at the end says that nothing is missing.
func entry(name string, sent []int) string {
	var b strings.Builder
	b.WriteString(name)
	for i := 0; i < len(sent); {
		end := i
		for end+1 < len(sent) && sent[end+1] == sent[end]+1 {
			end++
		}
		fmt.Fprintf(&b, " %d-%d", sent[i], sent[end])
		i = end + 1
	}
	b.WriteString(" .\n")
	return b.String()
}

func (j *journal) path() string { return filepath.Join(j.directory, journalName) }

func (j *journal) note(name string, sent []int) {
	set := j.sent[name]
	for _, n := range sent {
		set.add(n)
	}
	j.sent[name] = set
}

func (j *journal) has(name string, number int) bool { return j.sent[name].has(number) }

// count is how many samples of a letter have been sent.
func (j *journal) count(name string) int { return j.sent[name].len() }

// add remembers samples of a letter.
func (j *journal) add(name string, sent []int) (err error) {
	if j.file == nil {
		if j.file, err = os.OpenFile(j.path(), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600); err != nil {
			return err
		}
		// Ends a line that a crash may have cut off.
		if _, err := j.file.WriteString("\n"); err != nil {
			return err
		}
	}
	slices.Sort(sent)
	j.note(name, sent)
	_, err = j.file.WriteString(entry(name, sent))
	return err
}

// close flushes what was added, and forgets letters that are not there any more.
func (j *journal) close() error {
	if j.file != nil {
		err := errors.Join(j.file.Sync(), j.file.Close())
		j.file = nil
		if err != nil {
			return err
		}
	}
	records, err := deadletter.List(j.directory)
	if err != nil {
		return err
	}
	var left strings.Builder
	known := 0
	for i := range records {
		if sent, ok := j.sent[records[i].Name]; ok {
			known++
			left.WriteString(entry(records[i].Name, sent.all()))
		}
	}
	switch known {
	case len(j.sent):
		return nil
	case 0:
		return os.Remove(j.path())
	}
	temporary := j.path() + ".tmp"
	if err := os.WriteFile(temporary, []byte(left.String()), 0o600); err != nil {
		return err
	}
	return os.Rename(temporary, j.path())
}
