// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/otlptranslator"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/confighttp"
	"go.opentelemetry.io/collector/config/configopaque"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/confmaptest"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/metadata"
)

// testConfigs loads testdata/config.yaml. The names are those after the slash, "" for the one without.
func testConfigs(t *testing.T) map[string]*confmap.Conf {
	t.Helper()
	file, err := confmaptest.LoadConf(filepath.Join("testdata", "config.yaml"))
	require.NoError(t, err)
	configs := make(map[string]*confmap.Conf)
	for key := range file.ToStringMap() {
		typ, name, _ := strings.Cut(key, "/")
		require.Equal(t, metadata.Type.String(), typ)
		configs[name], err = file.Sub(key)
		require.NoError(t, err)
	}
	return configs
}

// load does with a configuration what the Collector does when it starts.
func load(conf *confmap.Conf) (*Config, error) {
	cfg := createDefaultConfig().(*Config)
	if err := conf.Unmarshal(cfg); err != nil {
		return nil, err
	}
	return cfg, confmap.Validate(cfg)
}

func TestValidConfigs(t *testing.T) {
	configs := testConfigs(t)
	for name, edit := range map[string]func(*Config){
		"": func(*Config) {},
		"all": func(c *Config) {
			c.HTTP.Endpoint = "https://metrics.example.com:8443/api/v1/write?tenant=a"
			c.HTTP.Timeout = 10 * time.Second
			c.HTTP.Headers = configopaque.MapList{{Name: "X-Scope-OrgID", Value: "tenant"}}
			c.HTTP.Compression = "none"
			// In which fields the section ends up depends on a feature gate of the Collector.
			settings := map[string]any{"keepalive": map[string]any{"max_idle_conns": 50, "max_idle_conns_per_host": 20}}
			if err := confmap.NewFromStringMap(settings).Unmarshal(&c.HTTP); err != nil {
				panic(err)
			}
			c.ProtobufMessage = MessageV2
			c.Fallback = false
			c.MetadataInterval = 5 * time.Minute
			c.ConvertExplicitHistogramsToNHCB = true
			c.KeepClassicHistograms = true
			c.Namespace = "shop"
			c.ExternalLabels = map[string]string{"cluster": "eu-1", "Replica": "a"}
			c.TargetInfo = TargetInfoConfig{Enabled: false}
			c.DisableScopeInfo = true
			c.ResourceConstantLabels = ResourceConstantLabelsConfig{
				Included: []string{"k8s.*", "host.name"},
				Excluded: []string{"k8s.pod.u?d"},
			}
			c.MaxLabels = 60
			c.TranslationStrategy = otlptranslator.NoTranslation
			c.Partitions = 16
			c.MaxInFlight = 12
			c.Batch = BatchConfig{MaxSamples: 500, MaxSizeBytes: 1_000_000, FlushTimeout: 5 * time.Second}
			c.Queue = QueueConfig{MaxSizeBytes: 64_000_000, MaxDiskBytes: 5 << 30, OnFull: OnFullDropOldest, BlockTimeout: 3 * time.Second, MaxAge: time.Hour}
			storage := component.MustNewIDWithName("file_storage", "queue")
			c.Queue.Storage = &storage
			c.Retry = RetryConfig{
				BackOff: BackOffConfig{
					Enabled: true, InitialInterval: 100 * time.Millisecond, MaxInterval: time.Minute, Multiplier: 1.5,
					RandomizationFactor: 0.1, MaxElapsedTime: time.Hour,
				},
				MaxRetries: 100, MaxRetryAfter: 10 * time.Minute,
			}
			c.RetryOn429 = false
			c.OnError = OnErrorConfig{
				RetriesExhausted: OnRetriesExhaustedFail, Fatal: OnFatalRetry, Rejected: OnRejectedIsolate,
				MaxIsolationRequests: 40,
			}
			c.OutOfOrder = OutOfOrderDrop
			c.MaxFuture, c.MaxPast = 5*time.Minute, 2*time.Hour
			c.SeriesIdleTimeout = 15 * time.Minute
			c.ShutdownTimeout = 20 * time.Second
			c.LogExamples = true
			c.DeadLetter = DeadLetterConfig{Directory: "/var/lib/otelcol/dead-letters", MaxSizeBytes: 1 << 30}
		},
		"metadata": func(c *Config) { c.SendMetadata = true },
		"as_prometheus": func(c *Config) {
			c.LabelNamePreserveMultipleUnderscores = true
			c.TargetInfo.KeepIdentifyingResourceAttributes = true
		},
		"header_list": func(c *Config) { c.HTTP.Headers = configopaque.MapList{{Name: "X-Scope-OrgID", Value: "tenant"}} },
		"least": func(c *Config) {
			const ms = time.Millisecond
			c.HTTP.Endpoint, c.HTTP.Timeout = "http://[::1]/", ms
			c.MetadataInterval, c.SeriesIdleTimeout, c.ShutdownTimeout = ms, ms, ms
			c.MaxFuture, c.MaxPast = ms, ms
			c.Partitions = 1
			c.Batch = BatchConfig{MaxSamples: 1, MaxSizeBytes: minBatchSize, FlushTimeout: ms}
			c.Queue.MaxSizeBytes, c.Queue.MaxDiskBytes, c.Queue.MaxAge = 4*minBatchSize, minBatchSize, 2*ms
			storage := component.MustNewID("file_storage")
			c.Queue.Storage = &storage
			c.Retry.BackOff = BackOffConfig{
				Enabled: true, InitialInterval: ms, MaxInterval: ms, MaxElapsedTime: ms, Multiplier: 1,
			}
			c.Retry.MaxRetryAfter = ms
			c.OnError.MaxIsolationRequests = 2
			c.DeadLetter = DeadLetterConfig{Directory: "/d", MaxSizeBytes: 2 * minBatchSize}
		},
		"most": func(c *Config) {
			c.HTTP.Endpoint = "http://localhost/"
			c.Partitions, c.MaxInFlight = maxPartitions, maxPartitions
			c.Batch.MaxSizeBytes = math.MaxInt32
			c.Queue.MaxSizeBytes = 4 * math.MaxInt32
			c.Retry.BackOff.RandomizationFactor = 1
		},
		"off": func(c *Config) {
			c.HTTP.Endpoint = "http://localhost/"
			c.Retry.BackOff.Enabled = false
			c.Retry.BackOff.InitialInterval, c.Retry.BackOff.MaxInterval, c.Retry.BackOff.Multiplier = 0, 0, 0
			c.DeadLetter.MaxSizeBytes = 0
		},
		"empty_sections": func(*Config) {},
		"http": func(c *Config) {
			http := map[string]any{
				"endpoint": "https://localhost/", "proxy_url": "socks5://proxy:1080",
				"auth":        map[string]any{"authenticator": "bearertokenauth/tenant"},
				"middlewares": []any{map[string]any{"id": "signer"}},
				"cookies":     map[string]any{},
				"tls": map[string]any{
					"insecure_skip_verify": true, "ca_file": "/ca.pem", "min_version": "1.2", "reload_interval": "1h",
					"cipher_suites": []any{"TLS_AES_128_GCM_SHA256"},
				},
				"keepalive":        map[string]any{"idle_conn_timeout": "1m", "max_idle_conns": 0, "max_idle_conns_per_host": 7},
				"read_buffer_size": 4096, "write_buffer_size": 4096, "max_conns_per_host": 10, "force_attempt_http2": false,
				"http2_read_idle_timeout": "10s", "http2_ping_timeout": "5s",
			}
			if err := confmap.NewFromStringMap(http).Unmarshal(&c.HTTP); err != nil {
				panic(err)
			}
		},
		"spellings": func(c *Config) {
			c.HTTP.Endpoint = "http://localhost/"
			c.Partitions, c.MaxInFlight = 8, 8
			c.Batch.MaxSizeBytes = 4_000_000
			c.Queue.MaxSizeBytes = 256 << 20
			c.Retry.BackOff.Multiplier, c.Retry.BackOff.MaxElapsedTime = 3, 0
			c.DeadLetter.MaxSizeBytes = 1_500_000_000
			c.ResourceConstantLabels.Included = []string{"k8s.*", "host.name"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			require.Contains(t, configs, name)
			defer delete(configs, name)
			want := createDefaultConfig().(*Config)
			want.HTTP.Endpoint = "http://localhost:9090/api/v1/write"
			edit(want)
			got, err := load(configs[name])
			require.NoError(t, err)
			assert.Equal(t, want, got)
		})
	}
	assert.Empty(t, slices.Collect(maps.Keys(configs)), "configurations that no test loads")
}

// TestCertificatesForAProxy: a proxy can be spoken to with TLS whatever the endpoint is.
func TestCertificatesForAProxy(t *testing.T) {
	_, err := loadWith(t, `http: {proxy_url: "https://proxy:3129", tls: {ca_file: /ca.pem}}`)
	require.NoError(t, err)
	_, err = loadWith(t, `http: {proxy_url: "http://proxy:3129", tls: {ca_file: /ca.pem}}`)
	require.ErrorContains(t, err, "http.tls: certificates have no effect")
}

// TestWrittenConfigurationsCanBeRead: the Collector writes configurations with all their keys, unset sections as null.
func TestWrittenConfigurationsCanBeRead(t *testing.T) {
	for name, conf := range testConfigs(t) {
		cfg, err := load(conf)
		require.NoError(t, err)
		written := confmap.New()
		require.NoError(t, written.Marshal(cfg))
		again, err := load(written)
		require.NoError(t, err, name)
		assert.Equal(t, optionsOf(cfg), optionsOf(again), name)
	}
}

// TestAllOptionsAreInOneConfig: each option has a value in testdata/config.yaml that is not its default.
func TestAllOptionsAreInOneConfig(t *testing.T) {
	all, err := load(testConfigs(t)["all"])
	require.NoError(t, err)
	defaults, set := optionsOf(createDefaultConfig()), optionsOf(all)
	for key, value := range defaults {
		switch key {
		case "send_metadata", "retry_on_failure.enabled", "target_info.keep_identifying_resource_attributes", "label_name_preserve_multiple_underscores":
			// They exclude others.
		default:
			assert.NotEqual(t, value, set[key], key)
		}
	}
}

// TestDefaults are those that the design names; a change of one changes how running collectors behave.
func TestDefaults(t *testing.T) {
	assert.Equal(t, map[string]any{
		"protobuf_message":                    "prometheus.WriteRequest",
		"fallback":                            true,
		"send_metadata":                       false,
		"metadata_interval":                   time.Minute,
		"convert_explicit_histograms_to_nhcb": false,
		"keep_classic_histograms":             false,
		"namespace":                           "",
		"external_labels":                     map[string]string(nil),
		"target_info.enabled":                 true,
		"target_info.keep_identifying_resource_attributes": false,
		"label_name_preserve_multiple_underscores":         false,
		"disable_scope_info":                               false,
		"resource_constant_labels.included":                []string(nil),
		"resource_constant_labels.excluded":                []string(nil),
		"translation_strategy":                             "UnderscoreEscapingWithSuffixes",
		"partitions":                                       32,
		"max_in_flight":                                    0,
		"batch.max_samples":                                2000,
		"batch.max_size_bytes":                             ByteSize(3_000_000),
		"batch.flush_timeout":                              time.Second,
		"queue.max_size_bytes":                             ByteSize(268_435_456),
		"queue.storage":                                    (*component.ID)(nil),
		"queue.max_disk_bytes":                             ByteSize(10_737_418_240),
		"queue.on_full":                                    "block",
		"queue.block_timeout":                              5 * time.Second,
		"queue.max_age":                                    time.Duration(0),
		"retry_on_failure.enabled":                         true,
		"retry_on_failure.initial_interval":                30 * time.Millisecond,
		"retry_on_failure.max_interval":                    5 * time.Second,
		"retry_on_failure.multiplier":                      2.0,
		"retry_on_failure.randomization_factor":            0.5,
		"retry_on_failure.max_elapsed_time":                5 * time.Minute,
		"retry_on_failure.max_retries":                     0,
		"retry_on_failure.max_retry_after":                 time.Minute,
		"retry_on_429":                                     true,
		"on_error.retries_exhausted":                       "discard",
		"on_error.fatal":                                   "pause",
		"on_error.rejected":                                "discard",
		"max_labels":                                       1000,
		"on_error.max_isolation_requests":                  250,
		"out_of_order":                                     "separate",
		"max_future":                                       10 * time.Minute,
		"max_past":                                         45 * time.Minute,
		"series_idle_timeout":                              time.Hour,
		"shutdown_timeout":                                 15 * time.Second,
		"log_examples":                                     false,
		"dead_letter.directory":                            "",
		"dead_letter.max_size_bytes":                       ByteSize(134_217_728),
	}, optionsOf(createDefaultConfig()))
	assert.Equal(t, 30*time.Second, createDefaultConfig().(*Config).HTTP.Timeout)
}

// optionsOf returns the values of the exporter's own options by their keys, like queue.max_age. Of types that are
// strings it gives the string.
func optionsOf(cfg any) map[string]any {
	options := make(map[string]any)
	addOptions(options, "", reflect.ValueOf(cfg).Elem())
	delete(options, "http")
	return options
}

func addOptions(options map[string]any, prefix string, section reflect.Value) {
	for i := range section.NumField() {
		field := section.Type().Field(i)
		if !field.IsExported() {
			continue
		}
		name, squash, _ := strings.Cut(field.Tag.Get("mapstructure"), ",")
		value := section.Field(i)
		switch {
		case squash == "squash":
			addOptions(options, prefix, value)
		case value.Kind() == reflect.Struct && field.Type != reflect.TypeFor[confighttp.ClientConfig]():
			addOptions(options, prefix+name+".", value)
		case value.Kind() == reflect.String:
			options[prefix+name] = value.String()
		default:
			options[prefix+name] = value.Interface()
		}
	}
}

// TestPasswordsOfURLsAreNotInErrors, in whatever way the URL is wrong.
func TestPasswordsOfURLsAreNotInErrors(t *testing.T) {
	const password = "hunter2"
	for _, endpoint := range []string{
		"http://user:hunter2/x@localhost/",
		"http://user:hunter2#x@localhost/",
		"http://user:hunter2%zz@localhost/",
		"http://user:%hunter2@localhost/",
		"http://user:hunter2 @localhost/",
		"http://user:hunter2\n@localhost/",
		"http://user:hunter2@localhost:port/",
		"http://user:hunter2@[::1/",
		"http://user:hunter2@",
		"ftp://user:hunter2@localhost/",
		"user:hunter2@localhost",
		"hunter2:user@localhost",
		"//user:hunter2@localhost/",
		":hunter2@localhost",
	} {
		t.Run(endpoint, func(t *testing.T) {
			cfg := createDefaultConfig().(*Config)
			cfg.HTTP.Endpoint = endpoint
			err := cfg.Validate()
			require.Error(t, err)
			assert.Contains(t, err.Error(), "http.endpoint: ")
			assert.NotContains(t, err.Error(), password)

			cfg.HTTP.Endpoint, cfg.HTTP.ProxyURL = "http://localhost/", endpoint
			if err := cfg.Validate(); err != nil {
				assert.Contains(t, err.Error(), "http.proxy_url: ")
				assert.NotContains(t, err.Error(), password)
			}
		})
	}
}

// TestSecretsAreNotPrinted, however a configuration is printed.
func TestSecretsAreNotPrinted(t *testing.T) {
	const secret = "hunter2"
	cfg := createDefaultConfig().(*Config)
	cfg.HTTP.Endpoint = "http://localhost/"
	cfg.HTTP.Headers = configopaque.MapList{{Name: "Authorization", Value: "Bearer " + secret}, {Name: "X-Token", Value: secret}}
	require.NoError(t, confmap.Validate(cfg))

	printed := map[string]string{}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		printed[verb] = fmt.Sprintf(verb, cfg) + fmt.Sprintf(verb, *cfg) + fmt.Sprintf(verb, cfg.HTTP.Headers)
	}
	text, err := json.Marshal(cfg)
	require.NoError(t, err)
	printed["JSON"] = string(text)
	conf := confmap.New()
	require.NoError(t, conf.Marshal(cfg))
	printed["confmap"] = fmt.Sprint(conf.ToStringMap())
	for how, text := range printed {
		assert.Contains(t, text, "Authorization", how)
		assert.NotContains(t, text, secret, how)
	}

	// A value that is refused is not shown either.
	cfg.HTTP.Headers[1].Value += "\n"
	require.ErrorContains(t, cfg.Validate(), "X-Token")
	assert.NotContains(t, cfg.Validate().Error(), secret)
}

// TestConfigurationsOfTheFirstVersion load, or an error says what to write instead.
func TestConfigurationsOfTheFirstVersion(t *testing.T) {
	file, err := confmaptest.LoadConf(filepath.Join("testdata", "first_version.yaml"))
	require.NoError(t, err)
	refused := map[string]string{
		"ordered_remote_write/least": "queue.max_size_bytes: must be at least 4 * batch.max_size_bytes = 65536, not 32768",
	}
	for key := range file.ToStringMap() {
		conf, err := file.Sub(key)
		require.NoError(t, err)
		if _, err = load(conf); refused[key] == "" {
			assert.NoError(t, err, key)
		} else {
			assert.ErrorContains(t, err, refused[key], key)
		}
	}
	assert.Greater(t, len(file.ToStringMap()), 10)
}
