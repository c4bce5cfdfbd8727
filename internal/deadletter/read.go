// SPDX-License-Identifier: Apache-2.0

package deadletter // import "github.com/orderedremotewrite/orderedremotewriteexporter/internal/deadletter"

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Kept is a record on the disk. Of one whose .json is missing or damaged only the name tells something: Time and Reason.
type Kept struct {
	document
	// Directory is the exporter's subdirectory, and Name the name of both files without suffix.
	Directory, Name string

	number uint64
}

// List returns the records of all exporters below the directory, or of the one whose subdirectory it is, in the order in which
// they were dropped.
func List(directory string) ([]Kept, error) {
	files, err := os.ReadDir(directory)
	if err != nil {
		return nil, fmt.Errorf("dead letter: %w", err)
	}
	var records []Kept
	for _, file := range files {
		// Others, like lost+found, may not be readable.
		if file.IsDir() && folderPattern.MatchString(file.Name()) {
			more, err := listFolder(filepath.Join(directory, file.Name()))
			if err != nil {
				return nil, err
			}
			records = append(records, more...)
		}
	}
	own, err := listFolder(directory)
	if err != nil {
		return nil, err
	}
	return append(records, own...), nil
}

func listFolder(directory string) (records []Kept, err error) {
	files, err := os.ReadDir(directory)
	if err != nil {
		return nil, fmt.Errorf("dead letter: %w", err)
	}
	for _, file := range files {
		name, number, temporary, ok := parseName(file.Name())
		if !ok || temporary != "" || file.Name() != name+bodySuffix || !file.Type().IsRegular() {
			continue
		}
		k := Kept{Directory: directory, Name: name, number: number}
		if err := k.readInfo(); err != nil {
			return nil, fmt.Errorf("dead letter: %w", err)
		}
		records = append(records, k)
	}
	slices.SortFunc(records, func(a, b Kept) int {
		return cmp.Or(cmp.Compare(a.number, b.number), cmp.Compare(a.Name, b.Name))
	})
	return records, nil
}

func (k *Kept) path(suffix string) string { return filepath.Join(k.Directory, k.Name+suffix) }

func (k *Kept) readInfo() error {
	info, err := os.ReadFile(k.path(infoSuffix))
	if errors.Is(err, fs.ErrNotExist) {
		k.Time, k.Reason = nameParts(k.Name)
		return nil
	}
	if err != nil {
		return err
	}
	// A loss of power may leave less than all of it. What is in the body can be sent all the same.
	if err := json.Unmarshal(info, &k.document); err != nil {
		k.document = document{}
		k.Time, k.Reason = nameParts(k.Name)
	}
	return nil
}

// nameParts takes the time and the reason out of a name that parseName has accepted.
func nameParts(name string) (t time.Time, reason string) {
	m := recordParts.FindStringSubmatch(name)
	t, _ = time.Parse("20060102T150405.000Z", m[1]) // zero if it is no time
	return t, m[2]
}

// ReadBody reads the body, and returns an error if it is not all of it.
func (k *Kept) ReadBody() ([]byte, error) {
	body, err := os.ReadFile(k.path(bodySuffix))
	if err != nil {
		return nil, fmt.Errorf("dead letter: %w", err)
	}
	if k.BodyFile != "" && len(body) != k.BodyBytes {
		return nil, fmt.Errorf("dead letter: %s has %d bytes of %d", k.path(bodySuffix), len(body), k.BodyBytes)
	}
	return body, nil
}

// Remove removes the record.
func (k *Kept) Remove() error {
	for _, suffix := range []string{infoSuffix, bodySuffix} {
		if err := os.Remove(k.path(suffix)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("dead letter: %w", err)
		}
	}
	return nil
}
