// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"context"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/confmap"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/rwtest"
)

// randomConfigs makes random configurations of what config.schema.yaml says of the keys.
type randomConfigs struct {
	*rand.Rand
	keys map[string]map[string]any
	// directory is for dead letters.
	directory string
}

// notRandom are the keys that need something else: another endpoint, an extension, a file, a proxy.
var notRandom = []string{
	"http.endpoint", "http.auth", "http.middlewares", "http.proxy_url", "http.tls", "http.disable_keep_alives", "http.idle_conn_timeout",
	"http.max_idle_conns", "http.max_idle_conns_per_host", "queue.storage",
}

// chosen are values of keys of which the schema says how they look, not what they are.
func (r *randomConfigs) chosen() map[string][]any {
	return map[string][]any{
		"namespace":                             {"", "shop", "_:9"},
		"external_labels":                       {map[string]any{}, map[string]any{"cluster": "eu", "job": "own"}, map[string]any{"room": "x"}},
		"http.headers":                          {map[string]any{"X-Scope-OrgID": "a"}, []any{map[string]any{"name": "Host", "value": "receiver.test"}}},
		"http.cookies":                          {map[string]any{}, map[string]any{"enabled": false}, nil},
		"dead_letter.directory":                 {"", r.directory},
		"resource_constant_labels.included":     {[]any{"*"}, []any{"host.*"}, "service.*,host.name", []any{}},
		"resource_constant_labels.excluded":     {[]any{"service.*"}, []any{}},
		"retry_on_failure.multiplier":           {1, 1.5, 10},
		"retry_on_failure.randomization_factor": {0, 0.5, 1},
		"http.compression_params.level":         {0},
	}
}

// value is a value for a key.
func (r *randomConfigs) value(key string) any {
	property := r.keys[key]
	if values, ok := r.chosen()[key]; ok {
		return values[r.IntN(len(values))]
	}
	if values, ok := property["enum"].([]any); ok {
		return values[r.IntN(len(values))]
	}
	types, _ := property["type"].([]any)
	switch {
	case property["type"] == "boolean":
		return r.IntN(2) == 0
	case property["type"] == "integer", slices.Contains(types, "integer") && property["minimum"] != property["maximum"]:
		return r.number(property)
	default: // a time
		times := []any{"1ms", "15ms", "250ms", "1s", "7s", "1m", "10m", "3h", "876000h"}
		if len(types) > 0 {
			times = append(times, 0, "0s")
		}
		return times[r.IntN(len(times))]
	}
}

// number is one within the bounds, mostly near the lower one.
func (r *randomConfigs) number(property map[string]any) any {
	least, _ := property["minimum"].(int)
	most, bounded := property["maximum"].(int)
	if !bounded {
		most = min(math.MaxInt, 1<<40)
	}
	n := least
	switch r.IntN(5) {
	case 0:
	case 1:
		n = most
	case 2:
		n += r.IntN(1000)
	default:
		if n += r.IntN(8); property["default"] != nil && r.IntN(2) == 0 {
			n = property["default"].(int)
		}
	}
	n = min(n, most)
	if slices.Contains(listOf(property["type"]), "string") && n%2 == 0 {
		return fmt.Sprintf("%dB", n)
	}
	return n
}

func listOf(v any) []any {
	list, _ := v.([]any)
	return list
}

// settable are the keys that have a value of their own.
func (r *randomConfigs) settable() []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(r.keys)), func(key string) bool {
		_, isChosen := r.chosen()[key]
		return r.keys[key]["properties"] != nil && !isChosen || strings.HasPrefix(key, "http.cookies.") ||
			slices.ContainsFunc(notRandom, func(not string) bool { return key == not || strings.HasPrefix(key, not+".") })
	})
}

// config has values of some keys, the more the rarer.
func (r *randomConfigs) config() map[string]any {
	set := make(map[string]any)
	keys := r.settable()
	for range 1 + r.IntN(1+r.IntN(len(keys))) {
		key := keys[r.IntN(len(keys))]
		set[key] = r.value(key)
	}
	return set
}

// conf is the configuration of values by their keys.
func conf(t *testing.T, set map[string]any) *confmap.Conf {
	t.Helper()
	c := confmap.NewFromStringMap(map[string]any{"http": map[string]any{"endpoint": "http://receiver.test/api/v1/write"}})
	for _, key := range slices.Sorted(maps.Keys(set)) {
		given := set[key]
		for _, name := range slices.Backward(strings.Split(key, ".")) {
			given = map[string]any{name: given}
		}
		require.NoError(t, c.Merge(confmap.NewFromStringMap(given.(map[string]any))))
	}
	return c
}

// TestRandomConfigurations: what loads works, from the start to the shutdown, and what does not load names a key that is to blame.
func TestRandomConfigurations(t *testing.T) {
	s := seed(t)
	rounds := 100
	if raceDetector {
		rounds = 30
	}
	r := &randomConfigs{Rand: rand.New(rand.NewPCG(s, 1)), keys: readSchema(t).keys(t), directory: t.TempDir()}
	loaded := 0
	for round := range rounds {
		set := r.config()
		cfg, err := load(conf(t, set))
		if err != nil {
			blamed := slices.ContainsFunc(slices.Sorted(maps.Keys(set)), func(key string) bool { return strings.Contains(err.Error(), key) })
			assert.True(t, blamed, "round %d: %v: %v", round, set, err)
			continue
		}
		loaded++
		if set["http.headers"] == nil { // Their values are not written.
			written := confmap.New()
			require.NoError(t, written.Marshal(cfg))
			again, err := load(written)
			require.NoError(t, err, "round %d: %v", round, set)
			assert.Equal(t, optionsOf(cfg), optionsOf(again), "round %d: %v", round, set)
		}
		synctest.Test(t, func(t *testing.T) { tryConfig(t, r, cfg, fmt.Sprintf("round %d: %v", round, set)) })
		if t.Failed() {
			break
		}
	}
	t.Logf("%d of %d loaded", loaded, rounds)
	assert.Greater(t, loaded, rounds/10)
}

// tryConfig sends payloads with a configuration to an endpoint with moods.
func tryConfig(t *testing.T, r *randomConfigs, cfg *Config, what string) {
	receiver := &rwtest.Receiver{Faults: rwtest.Faults{
		Seed: r.Uint64(), MaxLatency: 2 * time.Second, ServerError: 100, ClientError: 30, ClientStatuses: []int{400, 402, 403, 413},
		TooManyRequests: 50, MaxRetryAfter: 3 * time.Second, DropAnswer: 30, ResetUnread: 30,
	}}
	h := newHarness(t, receiver, func(c *Config) {
		middlewares := c.HTTP.Middlewares
		*c = *cfg
		c.HTTP.Middlewares = middlewares
		if r.IntN(4) == 0 {
			stored(c)
			c.Queue.MaxDiskBytes = max(c.Queue.MaxDiskBytes, c.Queue.MaxSizeBytes)
		}
	})
	refused := 0
	for i := range 20 {
		md := everything(time.Now().Add(time.Duration(i%3-1) * time.Minute))
		if i%2 == 0 {
			md = gauge(time.Now(), 50)
		}
		if h.ConsumeMetrics(t.Context(), md) != nil {
			refused++
		}
		time.Sleep(time.Duration(r.IntN(3000)) * time.Millisecond)
	}
	time.Sleep(30 * time.Second)
	for len(h.host.events) > 0 {
		<-h.host.events
	}
	require.NoError(t, h.Shutdown(context.Background()), what)
	b := h.ledger.Snapshot()
	assert.Zero(t, b.InFlight, what)
	if h.storage == nil {
		assert.Zero(t, b.Queued, what)
	}
	h.checkBalance()
	h.checkStandard()
	assert.Less(t, refused, 20, what)
	assert.NotZero(t, b.Received, what)
	if t.Failed() {
		t.Log(what)
	}
}

// wrongs are values that are wrong for a key of the type.
func (r *randomConfigs) wrongs(property map[string]any) []any {
	wrong := []any{map[string]any{"no_such": 1}, []any{[]any{}}}
	is := func(name string) bool {
		return property["type"] == name || slices.Contains(listOf(property["type"]), any(name))
	}
	least, hasLeast := property["minimum"].(int)
	most, hasMost := property["maximum"].(int)
	switch {
	case property["properties"] != nil:
		return []any{"text", 5, true, []any{1}, map[string]any{"no_such": 1}}
	case is("object"):
		return []any{"text", 5, true, []any{1}, map[string]any{"a": 1}}
	case property["anyOf"] != nil:
		return []any{"text", 5, true, []any{1}, map[string]any{"a": 1}}
	case is("array"):
		return []any{5, true, map[string]any{"a": 1}}
	case property["enum"] != nil:
		return append(wrong, "no_such", 7, true)
	case is("boolean"):
		return append(wrong, "yes", 1)
	case is("number"):
		return append(wrong, -1, "1", true)
	case is("integer") && !(hasLeast && hasMost && least == most):
		wrong = append(wrong, 2.5, true, "many", 1e300)
		if hasLeast {
			wrong = append(wrong, least-1)
		}
		if hasMost {
			wrong = append(wrong, most+1)
		}
		return wrong
	case property["pattern"] != nil && strings.Contains(property["pattern"].(string), "ms|s|m|h"):
		return append(wrong, 5, "5", "-1s", "soon", true, "2000000h")
	default:
		return append(wrong, 5, true)
	}
}

// TestRandomMistakes: one wrong value in a configuration is told with its key, whatever else is configured.
func TestRandomMistakes(t *testing.T) {
	s := seed(t)
	r := &randomConfigs{Rand: rand.New(rand.NewPCG(s, 2)), keys: readSchema(t).keys(t), directory: filepath.Join(t.TempDir(), "letters")}
	// An error about a key that the Collector has given up names the one that it has instead.
	keys := slices.DeleteFunc(slices.Sorted(maps.Keys(r.keys)), func(key string) bool {
		return slices.Contains(deprecatedKeys, key) || key == "http" || key == "http.endpoint" || key == "http.compression_params.level"
	})
	rounds, told := 500, 0
	if raceDetector {
		rounds = 100
	}
	for range rounds {
		set := r.config()
		wrong := keys[r.IntN(len(keys))]
		values := r.wrongs(r.keys[wrong])
		// What is within a section that is wrong itself cannot be there too.
		maps.DeleteFunc(set, func(key string, _ any) bool {
			return key == wrong || strings.HasPrefix(key, wrong+".") || strings.HasPrefix(wrong, key+".")
		})
		// What is switched off is not looked at.
		delete(set, "http.keepalive.enabled")
		delete(set, "retry_on_failure.enabled")
		set[wrong] = values[r.IntN(len(values))]
		_, err := load(conf(t, set))
		if assert.Error(t, err, "%s: %v", wrong, set[wrong]) {
			assert.Contains(t, strings.ReplaceAll(err.Error(), "::", "."), wrong, "%v", set[wrong])
			assert.NotContains(t, err.Error(), "\n")
			told++
		}
	}
	assert.Equal(t, rounds, told)
}
