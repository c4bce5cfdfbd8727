// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"bufio"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/confmap"
)

// readYAML returns the documents of a YAML file.
func readYAML(t *testing.T, path string) []*confmap.Conf {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	var documents []*confmap.Conf
	for _, document := range strings.Split(string(text), "\n---\n") {
		retrieved, err := confmap.NewRetrievedFromYAML([]byte(document))
		require.NoError(t, err, path)
		conf, err := retrieved.AsConf()
		require.NoError(t, err, path)
		documents = append(documents, conf)
	}
	return documents
}

// withoutNull returns a value without what is null in it: a chart takes null for "leave that out".
func withoutNull(value any) any {
	if m, ok := value.(map[string]any); ok {
		kept := make(map[string]any)
		for key, v := range m {
			if v != nil {
				kept[key] = withoutNull(v)
			}
		}
		return kept
	}
	return value
}

// deployedCollector is the configuration that the collector of deploy has.
func deployedCollector(t *testing.T) *Config {
	t.Helper()
	text, err := os.ReadFile("deploy/collector.yaml")
	require.NoError(t, err)
	retrieved, err := confmap.NewRetrievedFromYAML([]byte(environment.ReplaceAllString(string(text), "$2")))
	require.NoError(t, err)
	conf, err := retrieved.AsConf()
	require.NoError(t, err)
	sub, err := conf.Sub("exporters::ordered_remote_write")
	require.NoError(t, err)
	cfg, err := load(sub)
	require.NoError(t, err)
	return cfg
}

// TestDeploymentsHaveOneConfiguration, in the forms that the operator and the chart want.
func TestDeploymentsHaveOneConfiguration(t *testing.T) {
	collector := readYAML(t, "deploy/collector.yaml")[0].ToStringMap()
	operator := readYAML(t, "deploy/operator.yaml")[0]
	assert.Equal(t, collector, operator.Get("spec::config"))
	values := readYAML(t, "deploy/helm-values.yaml")[0]
	assert.Equal(t, collector, withoutNull(values.Get("config")))
	files := readYAML(t, "deploy/kustomization.yaml")[0].Get("configMapGenerator").([]any)[0].(map[string]any)["files"]
	assert.Equal(t, []any{"config.yaml=collector.yaml"}, files)
}

// TestDeploymentsGrantTimeToStop, memory and a restart.
func TestDeploymentsGrantTimeToStop(t *testing.T) {
	cfg := deployedCollector(t)
	needed := cfg.ShutdownTimeout + cfg.Queue.BlockTimeout
	unit := unitOf(t, "deploy/otelcol.service")
	granted, err := time.ParseDuration(unit["TimeoutStopSec"])
	require.NoError(t, err)
	assert.Greater(t, granted, needed, "systemd")
	seconds := map[string]any{
		"kubernetes": statefulSet(t).Get("spec::template::spec::terminationGracePeriodSeconds"),
		"operator":   readYAML(t, "deploy/operator.yaml")[0].Get("spec::terminationGracePeriodSeconds"),
		"helm":       readYAML(t, "deploy/helm-values.yaml")[0].Get("terminationGracePeriodSeconds"),
	}
	for name, s := range seconds {
		assert.Greater(t, time.Duration(s.(int))*time.Second, needed, name)
	}
}

// TestUnitIsStartedAgain also after an end with status 0, which is what a collector has that an exporter stops, and however
// often it ends.
func TestUnitIsStartedAgain(t *testing.T) {
	unit := unitOf(t, "deploy/otelcol.service")
	assert.Equal(t, "always", unit["Restart"])
	assert.Equal(t, "0", unit["StartLimitIntervalSec"])
	assert.Equal(t, "yes", unit["DynamicUser"])
	assert.Equal(t, "otelcol", unit["StateDirectory"])
	assert.Equal(t, "GOGC=200 GOMEMLIMIT=800MiB", unit["Environment"])
	assert.Equal(t, "1G", unit["MemoryMax"])
}

// TestDeploymentsBoundTheirMemory: the collector of garbage knows the limit, with room for what is no heap; and the queue leaves
// room for the rest.
func TestDeploymentsBoundTheirMemory(t *testing.T) {
	const limit, most = 1 << 30, 800 << 20
	assert.LessOrEqual(t, float64(most), 0.8*limit)
	assert.LessOrEqual(t, int64(deployedCollector(t).Queue.MaxSizeBytes), int64(limit/4))
	container := statefulSet(t).Get("spec::template::spec::containers").([]any)[0].(map[string]any)
	operator := readYAML(t, "deploy/operator.yaml")[0]
	for name, of := range map[string]struct{ env, resources any }{
		"kubernetes": {container["env"], container["resources"]},
		"operator":   {operator.Get("spec::env"), operator.Get("spec::resources")},
	} {
		assert.Contains(t, of.env, map[string]any{"name": "GOMEMLIMIT", "value": "800MiB"}, name)
		assert.Contains(t, of.env, map[string]any{"name": "GOGC", "value": "200"}, name)
		assert.Equal(t, map[string]any{"memory": "1Gi"}, of.resources.(map[string]any)["limits"], name)
	}
	values := readYAML(t, "deploy/helm-values.yaml")[0]
	assert.Equal(t, true, values.Get("useGOMEMLIMIT"))
	assert.Equal(t, "1Gi", values.Get("resources::limits::memory"))
}

// TestDeploymentsKeepTheirQueue on the volume, which has room for all of it twice.
func TestDeploymentsKeepTheirQueue(t *testing.T) {
	cfg := deployedCollector(t)
	require.NotNil(t, cfg.Queue.Storage)
	collector := readYAML(t, "deploy/collector.yaml")[0]
	assert.Contains(t, collector.Get("service::extensions"), cfg.Queue.Storage.String())
	storage := "extensions::" + cfg.Queue.Storage.String() + "::"
	directory := environment.ReplaceAllString(collector.Get(storage+"directory").(string), "$2")
	assert.Equal(t, collector.Get(storage+"directory"), collector.Get(storage+"compaction::directory"))
	needed := int64(cfg.Queue.MaxDiskBytes)*22/10 + int64(cfg.DeadLetter.MaxSizeBytes)
	set, operator, values := statefulSet(t), readYAML(t, "deploy/operator.yaml")[0], readYAML(t, "deploy/helm-values.yaml")[0]
	container := set.Get("spec::template::spec::containers").([]any)[0].(map[string]any)
	for name, of := range map[string]struct{ claims, mounts any }{
		"kubernetes": {set.Get("spec::volumeClaimTemplates"), container["volumeMounts"]},
		"operator":   {operator.Get("spec::volumeClaimTemplates"), operator.Get("spec::volumeMounts")},
		"helm":       {values.Get("statefulset::volumeClaimTemplates"), values.Get("extraVolumeMounts")},
	} {
		claim := confmap.NewFromStringMap(of.claims.([]any)[0].(map[string]any))
		var size ByteSize
		require.NoError(t, size.UnmarshalText([]byte(claim.Get("spec::resources::requests::storage").(string)+"B")))
		assert.GreaterOrEqual(t, int64(size), needed, name)
		mounted := false
		for _, mount := range of.mounts.([]any) {
			m := mount.(map[string]any)
			mounted = mounted || m["name"] == claim.Get("metadata::name") && strings.HasPrefix(directory, m["mountPath"].(string)+"/")
		}
		assert.True(t, mounted, name)
	}
}

func statefulSet(t *testing.T) *confmap.Conf {
	t.Helper()
	for _, document := range readYAML(t, "deploy/kubernetes.yaml") {
		if document.Get("kind") == "StatefulSet" {
			return document
		}
	}
	require.Fail(t, "no StatefulSet")
	return nil
}

// unitOf returns the settings of a unit of systemd, each of which stands once.
func unitOf(t *testing.T, path string) map[string]string {
	t.Helper()
	file, err := os.Open(path)
	require.NoError(t, err)
	defer file.Close()
	settings := make(map[string]string)
	for scanner := bufio.NewScanner(file); scanner.Scan(); {
		line := scanner.Text()
		if key, value, ok := strings.Cut(line, "="); ok && !strings.HasPrefix(line, "#") {
			assert.NotContains(t, settings, key)
			settings[key] = value
		}
	}
	return settings
}

// TestImageIsBuiltFromWhatIsHere: the commands of the Containerfile find what they need, and the image has a user and nothing of
// the build's.
func TestImageIsBuiltFromWhatIsHere(t *testing.T) {
	text, err := os.ReadFile("deploy/Containerfile")
	require.NoError(t, err)
	file := string(text)
	module, err := os.ReadFile("go.mod")
	require.NoError(t, err)
	version := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindSubmatch(module)
	assert.Contains(t, file, fmt.Sprintf("FROM docker.io/library/golang:%s AS build", version[1]))
	makefile, err := os.ReadFile("Makefile")
	require.NoError(t, err)
	assert.Contains(t, file, "RUN make image-root ")
	assert.Regexp(t, `(?m)^image-root: build `, string(makefile))
	assert.Contains(t, string(makefile), "CGO_ENABLED=0 $(GOBUILD) 'the collector' build/otelcol ")

	_, image, ok := strings.Cut(file, "FROM scratch\n")
	require.True(t, ok)
	user := regexp.MustCompile(`(?m)^USER (\d+):`).FindStringSubmatch(image)
	require.NotNil(t, user)
	for _, at := range []any{
		statefulSet(t).Get("spec::template::spec::securityContext::runAsUser"),
		readYAML(t, "deploy/operator.yaml")[0].Get("spec::podSecurityContext::runAsUser"),
		readYAML(t, "deploy/helm-values.yaml")[0].Get("podSecurityContext::runAsUser"),
	} {
		assert.Equal(t, user[1], fmt.Sprint(at))
	}
	for _, port := range []string{"4317", "4318", "8888", "13133"} {
		assert.Regexp(t, `EXPOSE .*\b`+port, image)
	}
}
