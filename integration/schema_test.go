// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/confmap"
)

// configSchema compiles config.schema.yaml, without a way to get other files.
func configSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	// Not a path: a directory may have a space in its name.
	const name = "mem:///config.schema.yaml"
	text, err := os.ReadFile("../config.schema.yaml")
	require.NoError(t, err)
	compiler := jsonschema.NewCompiler()
	compiler.UseLoader(jsonschema.SchemeURLLoader{})
	compiler.AssertFormat()
	require.NoError(t, compiler.AddResource(name, parseYAML(t, string(text))))
	schema, err := compiler.Compile(name)
	require.NoError(t, err)
	return schema
}

// parseYAML gives what a YAML text has, as the Collector reads it.
func parseYAML(t *testing.T, text string) map[string]any {
	t.Helper()
	retrieved, err := confmap.NewRetrievedFromYAML([]byte(text))
	require.NoError(t, err)
	raw, err := retrieved.AsRaw()
	require.NoError(t, err)
	values, ok := raw.(map[string]any)
	require.True(t, ok, text)
	return values
}

var (
	environment = regexp.MustCompile(`\$\{env:[A-Za-z_][A-Za-z0-9_]*(:-([^}]*))?\}`)
	yamlBlock   = regexp.MustCompile("(?s)\n```yaml\n(.*?)\n```\n")
)

// exporterConfigs returns the configurations of the exporter in testdata, examples and documentation, with the defaults of
// variables.
func exporterConfigs(t *testing.T) map[string]map[string]any {
	t.Helper()
	texts := make(map[string]string)
	for _, pattern := range []string{"../testdata/config.yaml", "../examples/*.yaml", "../deploy/collector.yaml", "../README.md", "../docs/*.md"} {
		paths, err := filepath.Glob(pattern)
		require.NoError(t, err)
		for _, path := range paths {
			text, err := os.ReadFile(path)
			require.NoError(t, err)
			if !strings.HasSuffix(path, ".md") {
				texts[path] = string(text)
				continue
			}
			for i, block := range yamlBlock.FindAllStringSubmatch(string(text), -1) {
				texts[fmt.Sprintf("%s, block %d", path, i+1)] = block[1]
			}
		}
	}
	configs := make(map[string]map[string]any)
	for where, text := range texts {
		values := parseYAML(t, environment.ReplaceAllString(text, "$2"))
		if exporters, ok := values["exporters"].(map[string]any); ok {
			values = exporters
		}
		for id, config := range values {
			if config, ok := config.(map[string]any); ok && strings.HasPrefix(id, "ordered_remote_write") {
				configs[where+" "+id] = config
			}
		}
	}
	require.Greater(t, len(configs), 15)
	return configs
}

// Every configuration that the project shows is valid by the schema.
func TestSchemaTakesEveryConfigurationOfTheProject(t *testing.T) {
	schema := configSchema(t)
	for where, config := range exporterConfigs(t) {
		require.NoError(t, schema.Validate(config), where)
	}
}

// What is wrong in itself, whatever else is configured, the schema refuses too.
func TestSchemaRefusesWrongConfigurations(t *testing.T) {
	schema := configSchema(t)
	for _, yaml := range []string{
		`partition: 8`, `partitions: 0`, `partitions: 1025`, `partitions: 2.5`, `partitions: "8"`, `partitions: true`,
		`partitions:`, `partitions: [8]`, `max_in_flight: -1`, `max_in_flight: 1025`, `max_future: 5`, `max_past: -1h`, `fallback: "yes"`, `fallback: 1`, `fallback:`, `log_examples: 1`,
		`batch: 5`, `batch: [a]`, `batch: {max_samples: 0}`, `batch: {max_size_bytes: 16383}`, `batch: {max_size_bytes: 2147483648}`,
		`batch: {max_size: 5}`, `batch: {flush_timeout: soon}`, `batch: {flush_timeout: 5}`, `batch: {flush_timeout: 1d}`, `batch: {flush_timeout: -1s}`,
		`batch: {flush_timeout: "30"}`, `queue: {max_size_bytes: 256M}`, `queue: {max_size_bytes: 256 megabytes}`, `queue: {max_size_bytes: 0.5}`,
		`queue: {max_size_bytes: -1}`, `queue: {max_age: 5}`, `queue: {on_full: wait}`, `queue: {storage: }`, `queue: {storage: ""}`, `queue: {storage: /var/lib/otelcol}`, `queue: {storage: 5}`, `queue: {max_disk_bytes: 16383}`,
		`retry_on_failure: {multiplier: 0.5}`, `retry_on_failure: {multiplier: "2"}`, `retry_on_failure: {randomization_factor: 1.5}`,
		`retry_on_failure: {max_retries: -1}`, `retry_on_failure: {max_retries: 2.5}`, `retry_on_failure: {maxretries: 5}`,
		`on_error: {fatal: ignore}`, `on_error: {max_isolation_requests: 1}`, `{on_error: {fatal: retry}, retry_on_failure: {enabled: false}}`,
		`out_of_order: sort`, `protobuf_message: prometheus.ReadRequest`, `translation_strategy: NoTranslation`,
		`convert_explicit_histograms_to_nhcb: true`, `keep_classic_histograms: true`,
		`{protobuf_message: io.prometheus.write.v2.Request, send_metadata: true}`, `namespace: my-shop`, `namespace: 5`,
		`external_labels: {k8s.cluster: a}`, `external_labels: {__name__: a}`, `external_labels: {le: a}`, `external_labels: {a: ""}`,
		`external_labels: {a: 5}`, `external_labels: [a]`, `resource_constant_labels: {included: [""]}`,
		`resource_constant_labels: {included: [".*"]}`, `resource_constant_labels: {included: ["^x$"]}`, `resource_constant_labels: {excluded: ["(a|b)"]}`,
		`resource_constant_labels: {enabled: true}`, `target_info: {enable: true}`,
		`target_info: {enabled: false, keep_identifying_resource_attributes: true}`,
		`{protobuf_message: io.prometheus.write.v2.Request, translation_strategy: NoTranslation, label_name_preserve_multiple_underscores: true}`,
		`endpoint: http://host/`, `sending_queue: {}`,
		`http: {endpoint: ""}`, `http: {endpoint: localhost:9090}`, `http: {endpoint: "ftp://host/"}`, `http: {endpoint: "http:///write"}`,
		`http: {endpoint: "http://host/ "}`, `http: {endpoint: "http://host/#a"}`, `http: {header: {a: b}}`, `http: {timeout: 30}`, `http: {compression: snappy}`,
		`http: {headers: {X-Scope-OrgID: ""}}`, `http: {headers: {X-Scope-OrgID: }}`, `http: {headers: {X-Scope-OrgID: 5}}`, `http: {headers: {X Token: a}}`,
		`http: {headers: {Content-Type: a}}`, `http: {headers: [{name: a}]}`, `http: {headers: [{name: a, valeu: b}]}`, `http: {headers: a}`,
		`http: {headers: {Idempotency-Key: a}}`, `http: {auth: {}}`, `http: {auth: {authenticatr: a}}`, `http: {auth: }`, `http: {auth: {authenticator: ""}}`, `http: {tls: {insecure_skip: true}}`,
		`http: {tls: {insecure: "yes"}}`, `http: {tls: {min_version: "1.7"}}`, `http: {tls: {tpm: {enable: true}}}`, `http: {keepalive: {max_idle: 5}}`,
		`http: {keepalive: {max_idle_conns: -1}}`, `http: {max_conns_per_host: -1}`, `http: {proxy_url: "proxy:8080"}`, `http: {cookies: {jar: a}}`,
		`http: {middlewares: [{}]}`, `http: {compression_params: {level: 3}}`, `dead_letter: {max_size_bytes: -1}`, `shutdown_timeout: -1s`,
	} {
		conf := confmap.NewFromStringMap(map[string]any{"http": map[string]any{"endpoint": "http://localhost/"}})
		require.NoError(t, schema.Validate(conf.ToStringMap()))
		require.NoError(t, conf.Merge(confmap.NewFromStringMap(parseYAML(t, yaml))))
		assert.Error(t, schema.Validate(conf.ToStringMap()), yaml)
	}
	assert.Error(t, schema.Validate(map[string]any{}))
}
