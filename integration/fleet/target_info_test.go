// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestTargetInfoOfAFleet: who writes the target_info, and the other series, of a resource, by the key that the routers route by
// and whether a resource's attributes change while it lives.
func TestTargetInfoOfAFleet(t *testing.T) {
	const (
		on         = "target_info: {enabled: true}"
		attributes = "routing_key: attributes, routing_attributes: [service.namespace, service.name, service.instance.id]"
	)
	for name, tc := range map[string]struct {
		settings
		changing bool
		// infos and others say whether one gateway, or several, or none, wrote the target_info of a resource, and its other
		// series together.
		infos, others writers
	}{
		"by stream":                                {settings{}, false, none, several},
		"by stream, target_info on":                {settings{gateway: on}, false, several, several},
		"by resource":                              {settings{router: "routing_key: resource", gateway: on}, false, one, one},
		"by resource, which changes":               {settings{router: "routing_key: resource", gateway: on}, true, several, several},
		"by identifying attributes":                {settings{router: attributes, gateway: on}, false, one, one},
		"by identifying attributes, others change": {settings{router: attributes, gateway: on}, true, one, one},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBackend(t)
			f := newTiers(t, b, tc.settings)
			c := newClients(t, f.routers...)
			c.attribute = func(payload int) string {
				if tc.changing {
					return strconv.Itoa(payload)
				}
				return "0"
			}
			c.run(&load{points: 40, pause: 60 * time.Millisecond, rounds: 1})
			f.drain()

			assert.Equal(t, tc.infos, mostWriters(b, true), "target_info")
			assert.Equal(t, tc.others, mostWriters(b, false), "other series")
			assert.Empty(t, b.missing(c.expected))
			if tc.infos == several || tc.changing && tc.others == several {
				assert.NotEmpty(t, slices.Concat(b.OutOfOrder(), b.Overlaps(), b.ResentAfterSuccess()), "several writers do no harm here")
				return
			}
			assert.Empty(t, b.Problems())
		})
	}
}

// writers is how many gateways write something.
type writers string

const (
	none    writers = "none"
	one     writers = "one"
	several writers = "several"
)

var instance = regexp.MustCompile(`instance="([^"]*)"`)

// mostWriters returns how many gateways wrote target_info, or the other series, of the resource of which most did.
func mostWriters(b *backend, info bool) writers {
	byInstance := make(map[string]map[string]bool)
	for series := range b.delivered() {
		if strings.Contains(series, `__name__="target_info"`) != info {
			continue
		}
		of := instance.FindString(series)
		if byInstance[of] == nil {
			byInstance[of] = make(map[string]bool)
		}
		for _, writer := range b.writersOf(series) {
			byInstance[of][writer] = true
		}
	}
	most := 0
	for gateways := range maps.Values(byInstance) {
		most = max(most, len(gateways))
	}
	switch most {
	case 0:
		return none
	case 1:
		return one
	}
	return several
}

// TestTargetInfoIsJoined is what target_info is written for, with resources routed by what identifies them: a query that joins it
// has one result for each series.
func TestTargetInfoIsJoined(t *testing.T) {
	b := newPrometheus(t)
	f := newTiers(t, b, settings{router: "routing_key: resource", gateway: "target_info: {enabled: true}"})
	c := newClients(t, f.routers...)
	c.attribute = func(int) string { return "a" }
	c.run(&load{points: 40, rounds: 1})
	f.drain()
	require.Empty(t, b.missing(c.expected))
	last := time.UnixMilli(0)
	for _, samples := range c.expected {
		for _, s := range samples {
			if at := time.UnixMilli(s.Timestamp); at.After(last) {
				last = at
			}
		}
	}
	joined := b.prometheus.Query(`last_over_time({__name__=~"rwtest.+"}[1h]) * on(job, instance) group_left(host_name) last_over_time(target_info[1h])`, last)
	assert.Len(t, joined, len(c.expected))
	for _, s := range joined {
		assert.Equal(t, "a", s.Metric.Get("host_name"))
	}
}
