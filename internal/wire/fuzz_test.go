// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"errors"
	"testing"

	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// seeds adds sound messages of both versions, and such with a byte too many, too few or wrong.
func seeds(f *testing.F) {
	for seed := range uint64(20) {
		r := newRandom(seed)
		all := r.many(1 + r.IntN(3))
		v1, v2 := []byte(nil), messageV2(all)
		for _, s := range all {
			v1 = s.appendV1(v1)
		}
		for _, raw := range [][]byte{v1, v2} {
			f.Add(raw)
			f.Add(raw[:len(raw)-1])
			f.Add(append(bytes.Clone(raw), 0x80))
			damaged := bytes.Clone(raw)
			damaged[r.IntN(len(damaged))] ^= byte(1 + r.IntN(255))
			f.Add(damaged)
		}
	}
	f.Add([]byte{})
	f.Add([]byte{0x22, 0})
}

// FuzzParse has everything that reads messages read whatever comes. It may be an error, and nothing worse.
func FuzzParse(f *testing.F) {
	seeds(f)
	accept := func(labels []Label) bool { return len(labels) < 50 }
	f.Fuzz(func(t *testing.T, raw []byte) {
		check := func(err error) {
			if err != nil && !errors.Is(err, ErrMalformed) {
				t.Errorf("%v is no ErrMalformed", err)
			}
		}
		series := func(p *ParsedV2, b []byte) {
			_, _, err := SeriesPoint(b)
			check(err)
			_, _, err = SeriesPointV2(b)
			check(err)
			_, err = SeriesLabels(nil, b)
			check(err)
			FindLabel(b, "a")
			_, err = CountExemplarsV2(b)
			check(err)
			_, err = p.Labels(b)
			check(err)
			before := []byte("before")
			after, ok, err := p.AppendSeriesAsV1(before, b, accept)
			check(err)
			if !bytes.HasPrefix(after, before) || !ok && len(after) > len(before) {
				t.Errorf("%q is appended, ok is %v", after, ok)
			}
		}
		for rest := raw; len(rest) > 0; {
			frame, b, next, err := NextSeries(rest)
			check(err)
			if err != nil {
				break
			}
			if len(frame)+len(next) != len(rest) {
				t.Errorf("%d bytes became %d and %d", len(rest), len(frame), len(next))
			}
			series(&ParsedV2{}, b)
			rest = next
		}
		p, err := ParseV2(raw)
		check(err)
		for _, b := range p.Series {
			series(&p, b)
		}
		series(&p, raw)
		var m Merger
		check(m.Add(&p, p.Series))
		m.Message(nil)
	})
}

// FuzzMerger merges what Prometheus can read, in two halves: what comes out must say the same.
func FuzzMerger(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		var sent writev2.Request
		if sent.Unmarshal(raw) != nil {
			return
		}
		// What is encoded again is in the order and form of the exporter's own messages.
		for i := range sent.Timeseries {
			ts := &sent.Timeseries[i]
			if len(ts.LabelsRefs)%2 != 0 || !refsResolve(&sent, ts) || ts.XXX_unrecognized != nil || ts.Metadata.XXX_unrecognized != nil ||
				ts.Metadata.Type < 0 || ts.Metadata.Type > 255 {
				return
			}
		}
		sent.XXX_unrecognized = nil
		encoded, err := sent.Marshal()
		require.NoError(t, err)
		p, err := ParseV2(encoded)
		require.NoError(t, err)
		var m Merger
		half := len(p.Series) / 2
		require.NoError(t, m.Add(&p, p.Series[:half]))
		require.NoError(t, m.Add(&p, p.Series[half:]))
		var got writev2.Request
		require.NoError(t, got.Unmarshal(m.Message(nil)))
		assert.Equal(t, resolve(t, &sent), resolve(t, &got))
	})
}

func refsResolve(r *writev2.Request, ts *writev2.TimeSeries) bool {
	refs := append([]uint32{ts.Metadata.HelpRef, ts.Metadata.UnitRef}, ts.LabelsRefs...)
	for _, e := range ts.Exemplars {
		if len(e.LabelsRefs)%2 != 0 {
			return false
		}
		refs = append(refs, e.LabelsRefs...)
	}
	for _, ref := range refs {
		if int(ref) >= len(r.Symbols) {
			return false
		}
	}
	return true
}
