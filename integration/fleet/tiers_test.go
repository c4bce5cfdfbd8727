// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// tiers is a fleet: collectors of the first tier, which route, and gateways, which write.
type tiers struct {
	t        *testing.T
	backend  *backend
	routers  []*member
	gateways []*member
	settings settings
	// list is a file with the routers' list of gateways.
	list string
}

// settings are merged into the configurations of docs/scaling.md: those of the load_balancing exporter into that of the routers,
// those of this exporter into that of the gateways.
type settings struct{ router, gateway string }

// newTiers boots two routers and three gateways.
func newTiers(t *testing.T, b *backend, s settings) *tiers {
	t.Helper()
	f := &tiers{t: t, backend: b, settings: s, list: filepath.Join(t.TempDir(), "gateways.yaml")}
	for range 3 {
		f.addGateway()
	}
	f.writeList(f.gateways...)
	for i := range 2 {
		f.addRouter(name("router", i))
	}
	return f
}

// addGateway boots one more gateway, which no router knows yet.
func (f *tiers) addGateway() *member {
	f.t.Helper()
	m := newGateway(f.t, f.backend, name("gateway", len(f.gateways)), page(f.t, secondTier), f.settings.gateway)
	m.configs = append(m.configs, "yaml:receivers::otlp::protocols::grpc::endpoint: "+m.otlp)
	m.boot()
	f.gateways = append(f.gateways, m)
	return m
}

// newGateway makes a gateway that writes to the backend, in small requests.
func newGateway(t *testing.T, b *backend, name, config, setting string) *member {
	t.Helper()
	return newMember(t, name, []string{"REMOTE_WRITE_ENDPOINT=" + b.url},
		config,
		"yaml:exporters::ordered_remote_write::http::headers::"+writerHeader+": "+name,
		"yaml:exporters::ordered_remote_write::batch: {max_samples: 500, flush_timeout: 200ms}",
		"yaml:exporters::ordered_remote_write::retry_on_failure::max_interval: 500ms",
		"yaml:exporters::ordered_remote_write: {"+setting+"}",
	)
}

// addRouter boots a router.
func (f *tiers) addRouter(name string) *member {
	f.t.Helper()
	m := newMember(f.t, name, nil,
		page(f.t, firstTier), f.list,
		"yaml:exporters::load_balancing::protocol::otlp::retry_on_failure: {initial_interval: 50ms, max_interval: 200ms}",
		"yaml:exporters::load_balancing: {"+f.settings.router+"}",
	)
	m.configs = append(m.configs, "yaml:receivers::otlp::protocols::grpc::endpoint: "+m.otlp)
	m.boot()
	f.routers = append(f.routers, m)
	return m
}

// writeList writes the list of gateways, which a router reads when it starts or is reloaded.
func (f *tiers) writeList(gateways ...*member) {
	f.t.Helper()
	var addresses []string
	for _, m := range gateways {
		addresses = append(addresses, m.otlp)
	}
	text := "exporters: {load_balancing: {resolver: {static: {hostnames: [" + strings.Join(addresses, ", ") + "]}}}}\n"
	require.NoError(f.t, os.WriteFile(f.list, []byte(text), 0o600))
}

// accounts is what all gateways say together.
func (f *tiers) accounts() accounts { return total(f.gateways) }

func total(members []*member) (a accounts) {
	for _, m := range members {
		a.add(m.accounts())
	}
	return a
}

// drain waits until all that the gateways have has its outcome.
func (f *tiers) drain() {
	f.t.Helper()
	eventually(f.t, func() bool { return f.accounts().open() == 0 }, "the gateways are empty")
}

// assertOneWriter asserts that each series came from one gateway, and that each gateway wrote some.
func assertOneWriter(t *testing.T, b *backend, gateways []*member) {
	t.Helper()
	written, several := make(map[string]int), make(map[string][]string)
	for key := range b.delivered() {
		writers := b.writersOf(key)
		if len(writers) > 1 {
			several[key] = writers
		}
		written[writers[0]]++
	}
	assert.Zero(t, len(several), "series with several writers")
	for _, m := range gateways {
		assert.NotZero(t, written[m.name], "series of %s", m.name)
	}
}
