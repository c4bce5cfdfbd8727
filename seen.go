package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

// seenSet is the series and timestamps of one payload. Metrics or attribute sets that become one series collide there. Its
// time goes into waiting for memory, so it holds nothing but a hash for each.
type seenSet struct {
	// slots is a hash table of keys, 0 where there is none.
	slots []uint64
	count int
}

const minSeenSlots = 1 << 8

// add returns false if the series already has a sample of that time.
func (s *seenSet) add(series uint64, timestamp int64) bool {
	if 2*s.count >= len(s.slots) {
		s.resize(max(minSeenSlots, 2*len(s.slots)))
	}
	return s.put(max(sampleHash(series, timestamp), 1))
}

func (s *seenSet) put(key uint64) bool {
	mask := uint64(len(s.slots) - 1)
	for i := key & mask; ; i = (i + 1) & mask {
		switch s.slots[i] {
		case 0:
			s.slots[i] = key
			s.count++
			return true
		case key:
			return false
		}
	}
}

func (s *seenSet) resize(size int) {
	old := s.slots
	*s = seenSet{slots: make([]uint64, size)}
	for _, key := range old {
		if key != 0 {
			s.put(key)
		}
	}
}

// reset empties the set. What a large payload leaves behind shrinks with each small one that follows.
func (s *seenSet) reset() {
	n, count := len(s.slots), s.count
	s.count = 0
	if clear(s.slots); n > minSeenSlots && count < n/16 {
		s.slots = make([]uint64, n/2)
	}
}
