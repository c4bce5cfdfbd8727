// SPDX-License-Identifier: Apache-2.0

package journal // import "github.com/orderedremotewrite/orderedremotewriteexporter/internal/journal"

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// format is the version of everything that is stored. It changes whenever an older version would read it wrongly.
const format = 3

// oneHole is the last format in which a lane of a head has exactly one hole, which may be empty, and unbounded the last one in which a
// head does not bound the bytes of records.
const (
	oneHole   = 1
	unbounded = 2
)

var (
	// ErrNewer is for what a newer version of the exporter has written.
	ErrNewer = errors.New("written by a newer version of the exporter")

	errDamaged = errors.New("damaged")

	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// Run is what one append brings for one lane.
type Run struct {
	Lane int
	// First is how many samples came before in the lane. Append sets it.
	First   uint64
	Samples int
	Data    []byte
}

// End is First of the run that follows in the lane.
func (r *Run) End() uint64 { return r.First + uint64(r.Samples) }

// Record is what was appended together.
type Record struct {
	Number uint64
	// Life counts how often the log had been opened when the record was written.
	Life uint64
	Runs []Run
}

// sealed puts the format and a checksum in front of a body.
func sealed(body []byte) []byte {
	b := make([]byte, 0, len(body)+5)
	b = append(b, format)
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(body, castagnoli))
	return append(b, body...)
}

// unseal returns the body of what sealed has made.
func unseal(b []byte) ([]byte, error) {
	if len(b) < 5 {
		return nil, errDamaged
	}
	body := b[5:]
	if binary.LittleEndian.Uint32(b[1:]) != crc32.Checksum(body, castagnoli) {
		return nil, errDamaged
	}
	if b[0] > format {
		return nil, fmt.Errorf("format %d: %w", b[0], ErrNewer)
	}
	return body, nil
}

// encode makes the stored form of a record. The sizes of all runs stand in front, so that they can be read without the data.
func (r *Record) encode(of Layout) []byte {
	size := 64
	for i := range r.Runs {
		size += len(r.Runs[i].Data) + 24
	}
	b := make([]byte, 5, size)
	b = binary.AppendUvarint(b, r.Number)
	b = binary.AppendUvarint(b, r.Life)
	b = of.append(b)
	b = binary.AppendUvarint(b, uint64(len(r.Runs)))
	for i := range r.Runs {
		run := &r.Runs[i]
		b = binary.AppendUvarint(b, uint64(run.Lane))
		b = binary.AppendUvarint(b, run.First)
		b = binary.AppendUvarint(b, uint64(run.Samples))
		b = binary.AppendUvarint(b, uint64(len(run.Data)))
	}
	for i := range r.Runs {
		b = append(b, r.Runs[i].Data...)
	}
	b[0] = format
	binary.LittleEndian.PutUint32(b[1:], crc32.Checksum(b[5:], castagnoli))
	return b
}

// decodeRecord reads a stored record. The runs' data stay parts of b.
func decodeRecord(b []byte) (Record, Layout, error) {
	body, err := unseal(b)
	if err != nil {
		return Record{}, Layout{}, err
	}
	d := decoder{b: body}
	r := Record{Number: d.uvarint(), Life: d.uvarint()}
	of := d.layout()
	n := d.count()
	r.Runs = make([]Run, n)
	sizes := make([]int, n)
	for i := range r.Runs {
		r.Runs[i] = Run{Lane: int(d.uvarint()), First: d.uvarint(), Samples: int(d.uvarint())}
		sizes[i] = int(d.uvarint())
		if r.Runs[i].Lane >= of.Lanes {
			return Record{}, Layout{}, errDamaged
		}
	}
	for i := range r.Runs {
		r.Runs[i].Data = d.bytes(sizes[i])
	}
	if d.failed || len(d.b) > 0 {
		return Record{}, Layout{}, errDamaged
	}
	return r, of, nil
}

// Layout is what must stay the same while a log holds anything: the number of lanes, and what the owner needs to find the lane
// of a series again.
type Layout struct {
	Lanes int
	// Secret is the owner's own.
	Secret []byte
}

func (l *Layout) append(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(l.Lanes))
	b = binary.AppendUvarint(b, uint64(len(l.Secret)))
	return append(b, l.Secret...)
}

func (l *Layout) equal(o Layout) bool {
	return l.Lanes == o.Lanes && string(l.Secret) == string(o.Secret)
}

// decoder reads what was encoded. Once something is missing it has failed, and returns zeros.
type decoder struct {
	b      []byte
	failed bool
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.failed, d.b = true, nil
		return 0
	}
	d.b = d.b[n:]
	return v
}

// count reads how many things follow, each of which takes a byte or more.
func (d *decoder) count() int {
	n := d.uvarint()
	if n > uint64(len(d.b)) {
		d.failed, d.b = true, nil
		return 0
	}
	return int(n)
}

func (d *decoder) bytes(n int) []byte {
	if n < 0 || n > len(d.b) {
		d.failed, d.b = true, nil
		return nil
	}
	b := d.b[:n:n]
	d.b = d.b[n:]
	return b
}

func (d *decoder) layout() Layout {
	l := Layout{Lanes: int(d.uvarint())}
	l.Secret = d.bytes(d.count())
	return l
}
