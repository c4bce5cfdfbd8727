// SPDX-License-Identifier: Apache-2.0

package deadletter // import "github.com/orderedremotewrite/orderedremotewriteexporter/internal/deadletter"

import (
	"fmt"
	"hash/fnv"
	"regexp"
	"strconv"
	"strings"
	"time"
)

const (
	bodySuffix      = ".snappy"
	infoSuffix      = ".json"
	temporarySuffix = ".tmp"

	// maxReason and maxFolderName keep names below the 255 bytes that file systems allow.
	maxReason     = 64
	maxFolderName = 200
)

var namePattern = regexp.MustCompile(`^(\d{8}T\d{6}\.\d{3}Z-(\d{1,20})-[a-z0-9_]+)\.(?:snappy|json)(\.tmp)?$`)

// recordParts are the time and the reason in the name of a record.
var recordParts = regexp.MustCompile(`^(\d{8}T\d{6}\.\d{3}Z)-\d+-(.*)$`)

// recordName returns the name of a record without suffix, such as 20260102T030405.678Z-0000000042-rejected. Names sort by
// time; the number makes them unique, and tells which is older if the clock was turned back.
func recordName(t time.Time, number uint64, reason string) string {
	return fmt.Sprintf("%s-%010d-%s", t.Format("20060102T150405.000Z"), number, cleanReason(reason))
}

func cleanReason(reason string) string {
	if reason == "" {
		return "unknown"
	}
	reason = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, reason)
	return reason[:min(len(reason), maxReason)]
}

// parseName takes apart the name of a file of a record, or of a temporary file for one, for which suffix is .tmp.
func parseName(file string) (name string, number uint64, suffix string, ok bool) {
	m := namePattern.FindStringSubmatch(file)
	if m == nil {
		return "", 0, "", false
	}
	// No store comes so far that there is no next number.
	number, err := strconv.ParseUint(m[2], 10, 63)
	return m[1], number, m[3], err == nil
}

// folderPattern is what folderName returns.
var folderPattern = regexp.MustCompile(`^[a-zA-Z0-9_%-][a-zA-Z0-9_%.-]*$`)

// folderName returns the name of the subdirectory of an exporter: its ID, in which everything is escaped as in a URL that
// might mean something else in a path. Different exporters have different names.
func folderName(exporter string) string {
	var b strings.Builder
	for i := range len(exporter) {
		c := exporter[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '_', c == '-', c == '.' && i > 0:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	name := b.String()
	if len(name) <= maxFolderName {
		return name
	}
	hash := fnv.New64a()
	hash.Write([]byte(exporter))
	return fmt.Sprintf("%s-%016x", name[:maxFolderName-17], hash.Sum64())
}
