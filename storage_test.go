// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/rwtest"
)

// TestStorageThatCannotBeUsed: the exporter does not start with a queue in memory if it is to be in storage.
func TestStorageThatCannotBeUsed(t *testing.T) {
	absent := component.MustNewIDWithName("file_storage", "queue")
	for name, tc := range map[string]struct {
		id   component.ID
		want string
	}{
		"absent":     {absent, `queue.storage: there is no extension "file_storage/queue", it must be in extensions and in service.extensions`},
		"no storage": {receiverID, `queue.storage: the extension "receiver" is no storage extension`},
	} {
		t.Run(name, func(t *testing.T) {
			h := unstarted(t, new(rwtest.Receiver), func(c *Config) { c.Queue.Storage = &tc.id })
			require.EqualError(t, h.Start(t.Context(), h.host), tc.want)
			require.NoError(t, h.Shutdown(context.Background()))
		})
	}
}

// TestStorageHasOneUser: two exporters never share a log.
func TestStorageHasOneUser(t *testing.T) {
	first := unstarted(t, new(rwtest.Receiver), stored)
	require.NoError(t, first.Start(t.Context(), first.host))
	second := unstarted(t, new(rwtest.Receiver), stored)
	second.host.disk = first.host.disk
	require.ErrorContains(t, second.Start(t.Context(), second.host), "queue.storage: ")
	require.NoError(t, second.Shutdown(context.Background()))
	require.NoError(t, first.Shutdown(context.Background()))
}
