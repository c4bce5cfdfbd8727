// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

// each calls do for each letter with something that the filter selects.
func each(f *filter, letters []*letter, do func(*letter, []sample)) error {
	for _, l := range letters {
		samples, err := l.open(f)
		l.close()
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // the exporter removes the oldest to make room
			return err
		}
		if len(samples) > 0 {
			do(l, samples)
		}
	}
	return nil
}

// list writes a line for each letter.
func list(out io.Writer, f *filter, letters []*letter) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "DROPPED\tREASON\tSTATUS\tSAMPLES\tSENT AGAIN\tOLDEST SAMPLE\tNEWEST SAMPLE\tNAME")
	shown, total := 0, 0
	err := each(f, letters, func(l *letter, samples []sample) {
		shown, total = shown+1, total+len(samples)
		status := "none"
		if l.Status != 0 {
			status = strconv.Itoa(l.Status)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%s\t%s\t%s\n", l.Time.Format(time.RFC3339), l.Reason, status, len(samples),
			l.sentOf(samples), moment(samples[0]), moment(samples[len(samples)-1]), l.Name)
	})
	if err := errors.Join(err, w.Flush()); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%d samples in %d dead letters\n", total, shown)
	return err
}

// sentOf is how many of the samples have been sent again.
func (l *letter) sentOf(samples []sample) (n int) {
	for _, s := range samples {
		if l.journal.has(l.Name, s.index) {
			n++
		}
	}
	return n
}

func moment(s sample) string {
	return time.UnixMilli(s.value.Timestamp).UTC().Format("2006-01-02T15:04:05.000Z")
}

// show writes what each letter holds.
func show(out io.Writer, f *filter, letters []*letter, limit int) error {
	return each(f, letters, func(l *letter, samples []sample) {
		fmt.Fprintln(out, l.path())
		fmt.Fprintf(out, "  dropped at %s by %s: %s\n", l.Time.Format(time.RFC3339), orUnknown(l.Exporter), l.fate())
		fmt.Fprintf(out, "  %d samples as %s, for %s; %d have been sent again\n", len(samples), l.version(), orUnknown(l.Endpoint), l.sentOf(samples))
		for i, s := range samples {
			if limit > 0 && i == limit {
				fmt.Fprintf(out, "    and %d more (-samples 0 shows all)\n", len(samples)-limit)
				break
			}
			fmt.Fprintf(out, "    %s  %s  %s\n", moment(s), wire.SeriesText(s.labels), s.value)
		}
		fmt.Fprintln(out)
	})
}

// fate says why the letter was dropped.
func (l *letter) fate() string {
	text := l.Reason
	switch {
	case l.Attempts == 0:
		text += ", never sent"
	case l.Status == 0:
		text += fmt.Sprintf(", no answer in %d attempts", l.Attempts)
	default:
		text += fmt.Sprintf(", %d %s in attempt %d", l.Status, http.StatusText(l.Status), l.Attempts)
	}
	if l.AnswerBody != "" {
		text += ": " + l.AnswerBody
	}
	return text
}

// version names the version of the message.
func (l *letter) version() string {
	if l.protocol == wire.V2 {
		return "Remote-Write 2.0"
	}
	return "Remote-Write 1.0"
}

func orUnknown(text string) string {
	if text == "" {
		return "(unknown: the .json is missing or damaged)"
	}
	return text
}
