// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"runtime"
	"sync"
)

// translatorPool keeps as many translators as there are processors, so that their memory is bounded: a sync.Pool keeps any
// number. It is safe for concurrent use.
type translatorPool struct {
	make func() *translator

	mu sync.Mutex
	// free are the translators that nobody uses. The one that was used last is at the end, and is taken first.
	free []*translator
}

// maxScratch is the most bytes of buffers that a translator is kept with. After a payload of ordinary size there are a few
// hundred thousand.
const maxScratch = 16 << 20

func newTranslatorPool(tr translation, memory *boundMemory, families *families) *translatorPool {
	p := &translatorPool{make: func() *translator { return newTranslator(tr, memory, families) }}
	tr.caches.reclaim = p.reclaim
	return p
}

// take returns a translator, which must be given back.
func (p *translatorPool) take() *translator {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.free); n > 0 {
		t := p.free[n-1]
		p.free[n-1] = nil
		p.free = p.free[:n-1]
		return t
	}
	return p.make()
}

// giveBack makes the translator ready for another payload, or lets go of it if there are enough or it has become large.
func (p *translatorPool) giveBack(t *translator) {
	t.reset()
	large := t.scratch() > maxScratch
	p.mu.Lock()
	defer p.mu.Unlock()
	if large || len(p.free) >= runtime.GOMAXPROCS(0) {
		t.account.forget()
		return
	}
	p.free = append(p.free, t)
}

// reclaim makes the translators that nobody uses forget what their caches hold.
func (p *translatorPool) reclaim() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, t := range p.free {
		t.account.forget()
	}
}
