// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"strings"
	"time"
)

// translation is how payloads are translated.
type translation struct {
	naming
	partitions       int
	limits           BatchConfig
	disableScopeInfo bool
	targetInfo       bool
	keepIdentifying  bool
	customBuckets    bool
	maxFuture        time.Duration
	keepClassic      bool
	promoted         ResourceConstantLabelsConfig
	external         []constLabel
	// maxLabels is the most labels of a series; 0 is no limit.
	maxLabels int
	// maxSize is the most bytes of a payload that are worth to be translated.
	maxSize int64
	// caches is what the caches of all translators may hold together.
	caches *cacheBudget
}

func newTranslation(cfg *Config, secret partitionSecret) translation {
	tr := translation{
		naming: naming{
			namespace: cfg.Namespace, strategy: cfg.TranslationStrategy,
			preserveUnderscores: cfg.LabelNamePreserveMultipleUnderscores, secret: secret,
		},
		partitions:       cfg.Partitions,
		limits:           cfg.Batch,
		disableScopeInfo: cfg.DisableScopeInfo,
		targetInfo:       cfg.TargetInfo.Enabled,
		keepIdentifying:  cfg.TargetInfo.KeepIdentifyingResourceAttributes,
		customBuckets:    cfg.ConvertExplicitHistogramsToNHCB,
		keepClassic:      cfg.KeepClassicHistograms,
		promoted:         cfg.ResourceConstantLabels,
		maxLabels:        cfg.MaxLabels,
		maxSize:          cfg.maxPayload(),
		maxFuture:        cfg.MaxFuture,
		caches:           newCacheBudget(translatorShare),
	}
	for name, value := range cfg.ExternalLabels {
		l := constLabel{name: name, value: strings.ToValidUTF8(value, "\uFFFD")}
		l.setHashes(secret)
		tr.external = append(tr.external, l)
	}
	return tr
}

// leastPayload is the most bytes of a payload that is translated whatever the queue can take: what becomes of it is then counted
// sample by sample. Tests have it smaller.
var leastPayload int64 = 256 << 20

// maxPayload is what the queue can take, or leastPayload.
func (c *Config) maxPayload() int64 { return max(int64(c.Queue.MaxSizeBytes), leastPayload) }

// exceedsMaxLabels says whether so many labels are more than a series may have.
func (tr *translation) exceedsMaxLabels(n int) bool { return tr.maxLabels > 0 && n > tr.maxLabels }
