// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"encoding/binary"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/journal"
)

// layoutOf is the layout of a log: two lanes for each partition, and the secret with which series find their partition again.
func layoutOf(partitions int, s partitionSecret) journal.Layout {
	secret := binary.LittleEndian.AppendUint64(nil, s.k0)
	return journal.Layout{Lanes: 2 * partitions, Secret: binary.LittleEndian.AppendUint64(secret, s.k1)}
}

func partitionsOf(l journal.Layout) (partitions int, s partitionSecret) {
	return l.Lanes / 2, partitionSecret{binary.LittleEndian.Uint64(l.Secret), binary.LittleEndian.Uint64(l.Secret[8:])}
}
