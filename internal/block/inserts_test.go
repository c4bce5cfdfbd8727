// SPDX-License-Identifier: Apache-2.0

package block

import (
	"bytes"
	"flag"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var seedFlag = flag.Uint64("seed", 0, "seed of the randomised tests; 0 takes another one each time")

func newRandom(t *testing.T) *rand.Rand {
	s := *seedFlag
	for s == 0 {
		s = rand.Uint64()
	}
	t.Logf("repeat with: go test -run '^%s$' -seed %d", t.Name(), s)
	return rand.New(rand.NewPCG(s, 0))
}

// requireElements decompresses elements by two decoders.
func requireElements(t *testing.T, want, elements []byte) {
	t.Helper()
	require.True(t, bytes.Equal(want, decoded(t, WithSize(elements, len(want)))))
}

// appendRandom appends bytes that are random, or were there before, by a writer that knows which.
func appendRandom(r *rand.Rand, w *Writer, message []byte) []byte {
	for range r.IntN(6) {
		switch r.IntN(4) {
		case 0:
			n := 1 + r.IntN(1<<r.IntN(10))
			if r.IntN(1000) == 0 {
				n = r.IntN(1 << 18)
			}
			p := make([]byte, n)
			for i := range p {
				p[i] = byte(r.Uint32())
			}
			w.Literal(p)
			message = append(message, p...)
		case 1:
			v, n := r.Uint64(), 1+r.IntN(8)
			w.LiteralWord(v, n)
			message = append(message, le.AppendUint64(nil, v)[:n]...)
		default:
			if len(message) == 0 {
				continue
			}
			from := r.IntN(len(message))
			n := r.IntN(1 + min(len(message)-from, 1<<r.IntN(12)))
			p := slices.Clone(message[from : from+n])
			if n >= minCopy && len(message)-from <= maxOffset && r.IntN(2) == 0 {
				w.Copy(from, n)
			} else {
				w.Repeat(p, from)
			}
			message = append(message, p...)
		}
		if r.IntN(10) == 0 {
			// This continues a copy, if there was one.
			if from := len(message) - 1 - r.IntN(1<<r.IntN(12)); from >= 0 && w.Continues(from) {
				n := r.IntN(min(len(message)-from, 3) + 1)
				w.Copy(from, n)
				message = append(message, slices.Clone(message[from:from+n])...)
			}
		}
	}
	return message
}

// TestWriter: what a writer is told is what its elements become.
func TestWriter(t *testing.T) {
	r := newRandom(t)
	for range 300 {
		var w Writer
		w.Begin(nil, 0)
		var message []byte
		for range r.IntN(100) {
			message = appendRandom(r, &w, message)
			require.Equal(t, len(message), w.At())
		}
		requireElements(t, message, w.End())
	}
}

// TestWriterReaches: a writer copies what two bytes can say how far back it is, and nothing that is farther.
func TestWriterReaches(t *testing.T) {
	for distance := maxOffset - 2; distance < maxOffset+3; distance++ {
		message := bytes.Repeat([]byte("0123456789"), 7000)[:distance]
		var w Writer
		w.Begin(nil, 0)
		w.Literal(message)
		w.Repeat(message[:8], 0)
		w.Literal([]byte("literal"))
		elements := w.End()
		assert.Equal(t, distance <= maxOffset, len(elements) < distance+3+3+1+8, distance)
		requireElements(t, slices.Concat(message, message[:8], []byte("literal")), elements)
	}
}

// TestInserts: plain bytes and elements between them become what they are in a row, in few more bytes than they are held in.
func TestInserts(t *testing.T) {
	r := newRandom(t)
	for range 400 {
		var message, elements []byte
		var in Inserts
		for range 1 + r.IntN(4) {
			var plain []byte
			in.Reset()
			// Elements copy what is before in the same message, whatever it becomes itself.
			start := len(message)
			for range r.IntN(1 << r.IntN(8)) {
				if r.IntN(3) > 0 {
					in.Close(len(plain))
					p := plainRandom(r, message[start:])
					plain, message = append(plain, p...), append(message, p...)
					continue
				}
				in.Open(len(message) - start)
				message = append(message[:start:start], appendRandom(r, &in.Writer, slices.Clone(message[start:]))...)
			}
			in.Close(len(plain))
			size := len(elements)
			elements = in.AppendElements(elements, plain)
			assert.LessOrEqual(t, len(elements)-size, len(plain)+MaxGrowth(len(plain))+in.Len()+len(in.runs)*insertSize+16)
			requireElements(t, message[start:], elements[size:])
		}
		requireElements(t, message, elements)
	}
}

// plainRandom are bytes that are random, or were there before, in a way that Snappy finds.
func plainRandom(r *rand.Rand, message []byte) (p []byte) {
	for range 1 + r.IntN(5) {
		if from := len(message) - r.IntN(1<<r.IntN(18)); from >= 0 && from < len(message) && r.IntN(3) > 0 {
			p = append(p, message[from:from+r.IntN(min(len(message)-from, 1<<r.IntN(12))+1)]...)
			continue
		}
		for range r.IntN(1 << r.IntN(8)) {
			p = append(p, byte(r.IntN(1<<r.IntN(9))))
		}
	}
	if r.IntN(200) == 0 {
		p = bytes.Repeat(append(p, 1), 1+r.IntN(2000))
	}
	return p[:min(len(p), 1<<17)]
}
