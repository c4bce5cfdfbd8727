// SPDX-License-Identifier: Apache-2.0

package wire // import "github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"

// Protocol is a version of Remote-Write.
type Protocol uint8

// The versions of Remote-Write.
const (
	V1 Protocol = iota
	V2
)

// The full names of the versions' messages (Remote-Write 2.0, "Protobuf Message").
const (
	MessageV1 = "prometheus.WriteRequest"
	MessageV2 = "io.prometheus.write.v2.Request"
)

// Message is the full name of the version's message.
func (p Protocol) Message() string {
	if p == V2 {
		return MessageV2
	}
	return MessageV1
}
