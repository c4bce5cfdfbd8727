// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

// TestLabelSetsFromTheOneBefore: a label set that was made by changing another is the one that is made from the start, and so
// are its references to symbols.
func TestLabelSetsFromTheOneBefore(t *testing.T) {
	s := seed(t)
	r := rand.New(rand.NewPCG(s, 0))
	n := testNamer(configOf(nil))
	used := newLabeler(n)
	var table wire.Symbols
	value := func() string {
		switch r.IntN(12) {
		case 0:
			return ""
		case 1:
			return "日本" + fmt.Sprint(r.IntN(3))
		case 2:
			return "\xff" + fmt.Sprint(r.IntN(3))
		case 3:
			return strings.Repeat("x", 90+r.IntN(60))
		default:
			return strings.Repeat("v", r.IntN(3)) + fmt.Sprint(r.IntN(200))
		}
	}
	keys := []string{"A", "Z", "b", "job", "le", "m", "quantile", "region", "z.z", "z_z", "é"}
	for context := range uint64(60) {
		c := labelContext{epoch: context + 1, labels: []constLabel{
			{name: "instance", value: "i", own: true}, {name: "job", value: "j", own: true}, {name: "region", value: "eu"}, {name: "zone", value: "1"},
		}[:r.IntN(5)]}
		for i := range c.labels {
			c.labels[i].setHashes(testSecret)
		}
		r.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
		kind := metricKind(r.IntN(int(kinds)))
		attrs := pcommon.NewMap()
		for _, key := range keys[:r.IntN(len(keys)+1)] {
			attrs.PutStr(key, value())
		}
		if context%8 == 7 {
			used.forgetShapes()
		}
		for range 60 {
			for _, v := range attrs.All() {
				if r.IntN(4) == 0 {
					v.SetStr(value())
				}
			}
			fresh := newLabeler(n)
			want, got := fresh.labelSet(attrs, &c, kind), used.labelSet(attrs, &c, kind)
			assert.Equal(t, string(want.buf), string(got.buf))
			assert.Equal(t, want.cut, got.cut)
			assert.Equal(t, want.hash, got.hash)
			assert.Equal(t, [2]string{want.le, want.quantile}, [2]string{got.le, got.quantile})

			if r.IntN(20) == 0 {
				table.Reset()
			}
			var m, plain wire.Merger
			var empty wire.Symbols
			m.AddDrafts(draftOf(&table, used.refs(&table)))
			plain.AddDrafts(draftOf(&empty, fresh.refs(&empty)))
			assert.Equal(t, plain.Message(nil), m.Message(nil), "references")
			used.forget()
			if t.Failed() {
				t.Fatalf("context %d, %v", context, attrs.AsRaw())
			}
		}
	}
}

// draftOf is a part with a series that has no labels but those of a base.
func draftOf(of *wire.Symbols, m *planMemo) []byte {
	s := wire.PartSymbols{Of: of}
	s.UseRefs(m.refs)
	part := wire.AppendDraftBase(s.AppendTable(nil), m.refs, &m.cut)
	return wire.AppendDraft(part, &wire.Draft{Point: wire.AppendSampleV2(nil, 1, 2, 3)})
}

// TestManyAttributes: attributes have the same labels whether or not there is room for them on the stack, with those of the scope that
// they share a label with.
func TestManyAttributes(t *testing.T) {
	c := newComparison(configOf(nil))
	for _, n := range []int{0, 1, fewAttributes - 3, fewAttributes - 2, fewAttributes - 1, fewAttributes, fewAttributes + 1, 2 * fewAttributes} {
		for time := range 3 {
			md := metricsOf([]any{"service.name", "s"}, gaugeOf("g", number(1, at(pcommon.Timestamp(time+1)*1e9))))
			sm := md.ResourceMetrics().At(0).ScopeMetrics().At(0)
			sm.Scope().SetName("scope")
			sm.Scope().Attributes().PutStr("a", "of the scope")
			attrs := sm.Metrics().At(0).Gauge().DataPoints().At(0).Attributes()
			for i := range n {
				key := fmt.Sprintf("key %02d", i)
				if i == n/2 {
					key = "otel_scope_a"
				}
				switch (i + time) % 5 {
				case 0:
					attrs.PutStr(key, fmt.Sprint("value ", i))
				case 1:
					attrs.PutInt(key, int64(time))
				case 2:
					attrs.PutStr(key, "")
				case 3:
					attrs.PutBool(key, i%2 == 0)
				default:
					attrs.PutStr(key, "\xff")
				}
			}
			got := c.check(t, md)
			assert.Len(t, got.series, 1)
		}
	}
}
