// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import "github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"

// constLabel is a label that all series of a resource and scope have.
type constLabel struct {
	name, value string
	// own labels are the translation's own, like job: an attribute of the same name gets another name. Of other
	// constant labels, like external labels, the attribute takes the place.
	own bool
	// hash and place are the label's parts in the identity and in the partition key.
	hash, place uint64
}

// setHashes sets hash and place.
func (l *constLabel) setHashes(secret partitionSecret) {
	l.hash = labelHash(nameHash(l.name), wire.Hash(l.value))
	l.place = secret.label(secret.name(l.name), []byte(l.value))
}
