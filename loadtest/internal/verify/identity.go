// SPDX-License-Identifier: Apache-2.0

package verify

import (
	"bytes"
	"hash/crc32"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/rwtest"
	"github.com/orderedremotewrite/orderedremotewriteexporter/loadtest/internal/schedule"
	"github.com/orderedremotewrite/orderedremotewriteexporter/loadtest/internal/wire"
)

// identity is what the labels say of a series.
type identity struct {
	slot    int32  // stream and part
	dice    uint32 // a hash that is the same in all processes
	kind    uint8  // 0 for what is no part of a schedule
	hostile bool   // its labels are bad on purpose
}

// castagnoli is a polynomial that processors have an instruction for.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// lookup returns the number of a series, and makes its acquaintance if need be.
func (v *Verifier) lookup(r *wire.Request, s *wire.Series) uint32 {
	n, found := v.table.put(s.Key, uint32(len(v.series)))
	if !found {
		v.series = append(v.series, series{newest: minTime, identity: v.identify(r, s)})
	}
	return n
}

// identify looks at the labels of a series, and whether they are as they must be.
func (v *Verifier) identify(r *wire.Request, s *wire.Series) identity {
	var id identity
	var name, number, bound []byte
	var before []byte
	sound, first := true, true
	err := r.EachLabel(s, func(label, value []byte) {
		id.dice = crc32.Update(crc32.Update(id.dice, castagnoli, label), castagnoli, value)
		sound = sound && (first || bytes.Compare(before, label) < 0) && soundLabel(label, value)
		before, first = label, false
		switch string(label) {
		case "__name__":
			name = value
		case "series":
			number = value
		case "le", "quantile":
			bound = value
		}
	})
	if err != nil || !sound || !soundName(name) {
		v.judge(r, s, err)
	}
	if len(number) == 9 && (number[0] == 's' || number[0] == 'x') {
		if stream, err := strconv.ParseUint(string(number[1:]), 10, 32); err == nil {
			kind, part, ok := place(string(name), string(bound))
			if ok {
				id.kind, id.slot, id.hostile = numberOf(kind), int32(int(stream)*kind.Parts()+part), number[0] == 'x'
			}
		}
	}
	return id
}

// judge asks what is wrong with labels that are not beyond doubt: perhaps nothing.
func (v *Verifier) judge(r *wire.Request, s *wire.Series, err error) {
	if err == nil {
		labels, _ := r.Labels(s)
		err = rwtest.ValidateLabels(r.Version, labels)
	}
	if err != nil {
		v.violation(Labels, "%v", err)
	}
}

// soundLabel says whether a label is beyond doubt in both versions of the protocol.
func soundLabel(name, value []byte) bool {
	return soundName(name) && bytes.IndexByte(name, ':') < 0 && len(value) > 0 && utf8.Valid(value) &&
		(!bytes.HasPrefix(name, []byte("__")) || string(name) == "__name__")
}

// soundName says whether a metric's name is.
func soundName(name []byte) bool {
	for i, c := range name {
		if letter := c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_' || c == ':'; !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return len(name) > 0
}

// place finds what part of a stream of which kind has such a name, and a label le or quantile.
func place(name, bound string) (kind schedule.Kind, part int, ok bool) {
	name = strings.ReplaceAll(name, ".", "_")
	for _, kind := range schedule.Kinds() {
		suffix, ok := strings.CutPrefix(name, strings.ReplaceAll(kind.Metric(), ".", "_"))
		if !ok {
			continue
		}
		if part, ok := partOf(kind, suffix, bound); ok {
			return kind, part, true
		}
	}
	return "", 0, false
}

func partOf(kind schedule.Kind, suffix, bound string) (int, bool) {
	several := kind.Parts() > 1
	value, err := strconv.ParseFloat(bound, 64)
	switch {
	case suffix == "" && !several || suffix == "_total" && kind == schedule.Sum:
		return 0, bound == ""
	case suffix == "_sum" && several:
		return kind.SumPart(), true
	case suffix == "_count" && several:
		return kind.CountPart(), true
	case err != nil:
		return 0, false
	case suffix == "_bucket" && kind == schedule.Histogram:
		for bucket := range schedule.Bounds + 1 {
			if schedule.Bound(bucket) == value {
				return bucket, true
			}
		}
	case suffix == "" && kind == schedule.Summary:
		for q := range schedule.Quantiles {
			if schedule.Quantile(q) == value {
				return q, true
			}
		}
	}
	return 0, false
}

// table finds numbers by keys that are hashes already. (A map would hash them again, and take half as much memory more.)
type table struct {
	entries []entry
	used    int
}

type entry struct {
	key    uint64
	number uint32
	taken  bool
}

func newTable() table { return table{entries: make([]entry, 1<<10)} }

// put returns the number of a key, and puts it there with the number if it is new.
func (t *table) put(key uint64, number uint32) (uint32, bool) {
	if 2*t.used >= len(t.entries) {
		grown := table{entries: make([]entry, 2*len(t.entries))}
		for _, e := range t.entries {
			if e.taken {
				grown.put(e.key, e.number)
			}
		}
		*t = grown
	}
	mask := uint64(len(t.entries) - 1)
	for i := key & mask; ; i = (i + 1) & mask {
		e := &t.entries[i]
		if !e.taken {
			*e = entry{key, number, true}
			t.used++
			return number, false
		}
		if e.key == key {
			return e.number, true
		}
	}
}
