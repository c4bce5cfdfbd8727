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

// exceedsMaxLabels says whether so many labels are more than a series may have.
func (tr *translation) exceedsMaxLabels(n int) bool { return tr.maxLabels > 0 && n > tr.maxLabels }
