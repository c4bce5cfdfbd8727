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
	"go.opentelemetry.io/collector/config/configauth"
	"go.opentelemetry.io/collector/config/confighttp"
	"go.opentelemetry.io/collector/config/configopaque"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/config/configretry"
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
			c.TranslationStrategy = otlptranslator.NoTranslation
			c.Partitions = 16
			c.Batch = BatchConfig{MaxSamples: 500, MaxSizeBytes: 1_000_000, FlushTimeout: 5 * time.Second}
			c.Queue = QueueConfig{MaxSizeBytes: 64_000_000, OnFull: OnFullDropOldest, BlockTimeout: 3 * time.Second, MaxAge: time.Hour}
			c.Retry = RetryConfig{
				BackOff: configretry.BackOffConfig{
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
			c.SeriesIdleTimeout = 15 * time.Minute
			c.ShutdownTimeout = 20 * time.Second
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
			c.Partitions = 1
			c.Batch = BatchConfig{MaxSamples: 1, MaxSizeBytes: minBatchSize, FlushTimeout: ms}
			c.Queue.MaxSizeBytes, c.Queue.MaxAge = 2*minBatchSize, 2*ms
			c.Retry.BackOff = configretry.BackOffConfig{
				Enabled: true, InitialInterval: ms, MaxInterval: ms, MaxElapsedTime: ms, Multiplier: 1,
			}
			c.Retry.MaxRetryAfter = ms
			c.OnError.MaxIsolationRequests = 2
			c.DeadLetter = DeadLetterConfig{Directory: "/d", MaxSizeBytes: 2 * minBatchSize}
		},
		"most": func(c *Config) {
			c.HTTP.Endpoint = "http://localhost/"
			c.Partitions = maxPartitions
			c.Batch.MaxSizeBytes = math.MaxInt32
			c.Queue.MaxSizeBytes = 2 * maxPartitions * math.MaxInt32
			c.Retry.BackOff.RandomizationFactor = 1
		},
		"off": func(c *Config) {
			c.HTTP.Endpoint = "http://localhost/"
			c.Retry.BackOff.Enabled = false
			c.Retry.BackOff.InitialInterval, c.Retry.BackOff.MaxInterval, c.Retry.BackOff.Multiplier = 0, 0, 0
			c.DeadLetter.MaxSizeBytes = 0
		},
		"empty_sections": func(*Config) {},
	} {
		t.Run(name, func(t *testing.T) {
			require.Contains(t, configs, name)
			want := createDefaultConfig().(*Config)
			want.HTTP.Endpoint = "http://localhost:9090/api/v1/write"
			edit(want)
			got, err := load(configs[name])
			require.NoError(t, err)
			assert.Equal(t, want, got)
		})
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
		"partitions":                                       8,
		"batch.max_samples":                                2000,
		"batch.max_size_bytes":                             int64(3_000_000),
		"batch.flush_timeout":                              time.Second,
		"queue.max_size_bytes":                             int64(268_435_456),
		"queue.on_full":                                    "block",
		"queue.block_timeout":                              10 * time.Second,
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
		"on_error.fatal":                                   "fail",
		"on_error.rejected":                                "discard",
		"on_error.max_isolation_requests":                  250,
		"out_of_order":                                     "send",
		"series_idle_timeout":                              time.Hour,
		"shutdown_timeout":                                 15 * time.Second,
		"dead_letter.directory":                            "",
		"dead_letter.max_size_bytes":                       int64(134_217_728),
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

const badURL = "not a valid URL (not shown, as it may hold a password, whose special characters must be percent-encoded)"

// TestInvalidConfigs: an error names the key, what is wrong, and what would be right.
func TestInvalidConfigs(t *testing.T) {
	reserved := func(name string) string {
		return fmt.Sprintf("http.headers: %q is set by the Remote-Write protocol and cannot be overridden", name)
	}
	tooShort := func(key, got string) string {
		return key + ": must be at least 1ms, not " + got + " (a number without a unit is in nanoseconds)"
	}
	const noEndpoint = "http.endpoint: must be set to the URL of a Remote-Write endpoint"
	invalid := map[string][]string{
		"nothing":                    {noEndpoint},
		"endpoint_without_scheme":    {"http.endpoint: must begin with http:// or https://"},
		"endpoint_of_another_scheme": {"http.endpoint: must begin with http:// or https://"},
		"endpoint_without_host":      {"http.endpoint: has no host"},
		"endpoint_unparsable":        {"http.endpoint: " + badURL},
		"proxy_unparsable":           {"http.proxy_url: " + badURL},
		"timeout":                    {tooShort("http.timeout", "0s")},
		"timeout_without_unit":       {tooShort("http.timeout", "30ns")},
		"compression":                {`http.compression: must be empty or none, not "snappy": the Remote-Write protocol prescribes its own`},
		"header_reserved": {
			reserved("Content-Length"), reserved("Content-TYPE"), reserved("content-encoding"), reserved("user-agent"),
			reserved("x-prometheus-remote-write-version"),
		},
		"header_name": {
			`http.headers: "" is not a valid header name`,
			`http.headers: "Schlüssel" is not a valid header name`,
			`http.headers: "X Token" is not a valid header name`,
		},
		"header_value": {`http.headers: the value of "X-Token" contains a line break or another control character`},
		"header_twice": {"http::headers: duplicate keys in map-style list: [X-Token]"},

		"protobuf_message":          {`protobuf_message: must be one of prometheus.WriteRequest, io.prometheus.write.v2.Request, not "prometheus.ReadRequest"`},
		"metadata_interval":         {tooShort("metadata_interval", "0s")},
		"nhcb_without_2":            {"convert_explicit_histograms_to_nhcb: needs protobuf_message io.prometheus.write.v2.Request"},
		"keep_classic_without_nhcb": {"keep_classic_histograms: has no effect without convert_explicit_histograms_to_nhcb"},
		"keep_identifying_without_target_info": {
			"target_info.keep_identifying_resource_attributes: has no effect without target_info.enabled",
		},
		"underscores_without_escaping": {
			"label_name_preserve_multiple_underscores: has no effect with translation_strategy NoTranslation, which leaves label names as they are",
		},
		"metadata_with_2": {"send_metadata: has no effect with protobuf_message io.prometheus.write.v2.Request, which always has metadata"},
		"translation_strategy": {
			"translation_strategy: must be one of UnderscoreEscapingWithSuffixes, UnderscoreEscapingWithoutSuffixes, " +
				`NoUTF8EscapingWithSuffixes, NoTranslation, not "underscoreescapingwithsuffixes"`,
		},
		"utf8_without_2":           {"translation_strategy: NoUTF8EscapingWithSuffixes needs UTF-8 names, which protobuf_message prometheus.WriteRequest cannot carry"},
		"no_translation_without_2": {"translation_strategy: NoTranslation needs UTF-8 names, which protobuf_message prometheus.WriteRequest cannot carry"},
		"namespace":                {`namespace: "my-shop" is not a valid metric name`},
		"external_labels": {
			`external_labels: "" is not a valid label name`,
			`external_labels: "9lives" is not a valid label name`,
			`external_labels: "__name__" is reserved: names that begin with __ are Prometheus's own`,
			`external_labels: "cluster" has an empty value`,
			`external_labels: "k8s.cluster" is not a valid label name`,
			`external_labels: "le" is reserved for histograms and summaries`,
			`external_labels: "quantile" is reserved for histograms and summaries`,
		},

		"partitions_too_few":  {"partitions: must be at least 1, not 0"},
		"partitions_too_many": {"partitions: must be at most 1024, not 1025"},
		"batch": {
			"batch.max_samples: must be at least 1, not 0",
			"batch.max_size_bytes: must be at least 16384, not 16383",
			tooShort("batch.flush_timeout", "0s"),
		},
		"batch_too_large":         {"batch.max_size_bytes: must be at most 2147483647, not 2147483648"},
		"queue_too_small":         {"queue.max_size_bytes: must be at least 2 * partitions * batch.max_size_bytes = 48000000, not 47999999"},
		"queue_on_full":           {`queue.on_full: must be one of block, reject, drop_oldest, drop_newest, not "wait"`},
		"queue_block_timeout":     {tooShort("queue.block_timeout", "0s")},
		"queue_max_age_negative":  {"queue.max_age: must not be negative, not -1s"},
		"queue_max_age_too_short": {"queue.max_age: must be 0 or greater than batch.flush_timeout 1s, not 1s: all samples would be too old"},

		"retry_initial_interval": {tooShort("retry_on_failure.initial_interval", "0s")},
		"retry_max_interval":     {"retry_on_failure.max_interval: 5s is less than retry_on_failure.initial_interval 10s"},
		"retry_multiplier":       {"retry_on_failure.multiplier: must be at least 1, not 0.5"},
		"retry_multiplier_nan": {
			"retry_on_failure.randomization_factor: must be a number from 0 to 1",
			"retry_on_failure.multiplier: must be at least 1, not NaN",
		},
		"retry_multiplier_infinite":  {"retry_on_failure.multiplier: must be at least 1, not +Inf"},
		"retry_randomization_factor": {"retry_on_failure::backoff: randomization_factor value must be less than or equal to 1"},
		"retry_max_elapsed_time":     {"retry_on_failure::backoff: 'max_elapsed_time' must not be less than 'max_interval'"},
		"retry_max_retries":          {"retry_on_failure.max_retries: must be at least 0, not -1"},
		"retry_max_retry_after":      {tooShort("retry_on_failure.max_retry_after", "0s")},

		"on_error_retries_exhausted":           {`on_error.retries_exhausted: must be one of discard, fail, not "retry"`},
		"on_error_fatal":                       {`on_error.fatal: must be one of fail, discard, retry, not "ignore"`},
		"on_error_fatal_retry_without_retries": {"on_error.fatal: retry needs retry_on_failure.enabled"},
		"on_error_rejected":                    {`on_error.rejected: must be one of discard, isolate, not "fail"`},
		"on_error_max_isolation_requests":      {"on_error.max_isolation_requests: must be at least 2, not 1"},

		"out_of_order":        {`out_of_order: must be one of send, drop, not "sort"`},
		"series_idle_timeout": {tooShort("series_idle_timeout", "0s")},
		"shutdown_timeout":    {tooShort("shutdown_timeout", "-1s")},
		"dead_letter": {
			"dead_letter.max_size_bytes: must be at least 6000000, not 5999999",
			`dead_letter.directory: "dead-letters" is not an absolute path`,
		},
		"several_at_once": {
			noEndpoint, tooShort("http.timeout", "-1s"), "partitions: must be at least 1, not -1",
			`out_of_order: must be one of send, drop, not ""`,
		},
	}
	// What cannot be unmarshalled is told by the Collector's own code, but it names the key as well.
	unreadable := map[string]string{
		"unknown_key":         "has invalid keys: partition",
		"unknown_nested_key":  "'queue' has invalid keys: storage",
		"endpoint_at_the_top": "has invalid keys: endpoint",
		"no_number":           "'partitions' expected type 'int'",
		"no_duration":         "'batch.flush_timeout' time: invalid duration",
	}
	configs := testConfigs(t)
	for name, want := range invalid {
		t.Run(name, func(t *testing.T) {
			require.Contains(t, configs, name)
			_, err := load(configs[name])
			require.EqualError(t, err, strings.Join(want, "\n"))
		})
	}
	for name, want := range unreadable {
		t.Run(name, func(t *testing.T) {
			require.Contains(t, configs, name)
			_, err := load(configs[name])
			require.ErrorContains(t, err, want)
		})
	}
	for name := range configs {
		_, err := load(configs[name])
		if err != nil && invalid[name] == nil && unreadable[name] == "" {
			t.Errorf("no test for %q of testdata/config.yaml: %v", name, err)
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
	cfg.HTTP.Auth = configoptional.Some(configauth.Config{})
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

// schemaOptions returns the leaves of config.schema.yaml by their keys, without those of http.
func schemaOptions(t *testing.T) (options, http map[string]map[string]any) {
	t.Helper()
	conf, err := confmaptest.LoadConf("config.schema.yaml")
	require.NoError(t, err)
	schema := conf.ToStringMap()
	defs := schema["$defs"].(map[string]any)
	used := map[string]bool{}
	options, http = map[string]map[string]any{}, map[string]map[string]any{}
	var add func(to map[string]map[string]any, prefix string, section map[string]any)
	add = func(to map[string]map[string]any, prefix string, section map[string]any) {
		for name, property := range section["properties"].(map[string]any) {
			p := property.(map[string]any)
			key := prefix + name
			if key == "http" {
				require.Equal(t, "go.opentelemetry.io/collector/config/confighttp.client_config", p["$ref"])
				add(http, "", p)
				continue
			}
			if ref, ok := p["$ref"].(string); ok {
				require.Contains(t, defs, ref)
				used[ref] = true
				p = defs[ref].(map[string]any)
			}
			assert.NotEmpty(t, p["description"], "description of %s", key)
			if p["properties"] != nil {
				assert.Equal(t, "object", p["type"], key)
				add(to, key+".", p)
				continue
			}
			to[key] = p
		}
	}
	add(options, "", schema)
	assert.Len(t, used, len(defs), "definitions that are not used")
	return options, http
}

// schemaType is the type of an option in a JSON schema.
func schemaType(value any) string {
	switch reflect.TypeOf(value).Kind() {
	case reflect.Bool:
		return "boolean"
	case reflect.Int:
		return "integer"
	case reflect.Int64:
		if _, ok := value.(time.Duration); ok {
			return "string"
		}
		return "integer"
	case reflect.Float64:
		return "number"
	case reflect.Slice:
		return "array"
	case reflect.Map:
		return "object"
	default:
		return "string"
	}
}

func TestSchemaCoversConfig(t *testing.T) {
	schema, http := schemaOptions(t)
	defaults := optionsOf(createDefaultConfig())
	assert.ElementsMatch(t, slices.Collect(maps.Keys(defaults)), slices.Collect(maps.Keys(schema)))
	for key, want := range defaults {
		property := schema[key]
		if property == nil {
			continue
		}
		assert.Equal(t, schemaType(want), property["type"], "type of %s", key)
		got := property["default"]
		switch want := want.(type) {
		case time.Duration:
			assert.Equal(t, "duration", property["format"], "format of %s", key)
			d, err := time.ParseDuration(fmt.Sprint(got))
			require.NoError(t, err, key)
			assert.Equal(t, want, d, "default of %s", key)
		case map[string]string, []string:
			assert.Empty(t, want)
			assert.Nil(t, got, "default of %s", key)
		default:
			assert.EqualValues(t, want, got, "default of %s", key)
		}
	}
	var names []string
	client := reflect.TypeFor[confighttp.ClientConfig]()
	for i := range client.NumField() {
		name, _, _ := strings.Cut(client.Field(i).Tag.Get("mapstructure"), ",")
		names = append(names, name)
	}
	for key := range http {
		assert.Contains(t, names, key)
	}
	assert.Equal(t, createDefaultConfig().(*Config).HTTP.Timeout.String(), http["timeout"]["default"])
}

// TestSchemaBoundsAreTheValidators: what the schema allows is valid, and what is just beyond is not.
func TestSchemaBoundsAreTheValidators(t *testing.T) {
	schema, _ := schemaOptions(t)
	try := func(key string, value any) error {
		conf := confmap.NewFromStringMap(map[string]any{"http": map[string]any{"endpoint": "http://localhost/"}})
		set := func(key string, value any) {
			path := strings.Split(key, ".")
			for _, name := range slices.Backward(path) {
				value = map[string]any{name: value}
			}
			require.NoError(t, conf.Merge(confmap.NewFromStringMap(value.(map[string]any))))
		}
		set(key, value)
		switch {
		case key == "translation_strategy":
			set("protobuf_message", string(MessageV2))
		case key == "batch.max_size_bytes" || key == "partitions":
			set("queue.max_size_bytes", int64(math.MaxInt64))
		}
		_, err := load(conf)
		return err
	}
	for key, property := range schema {
		if allowed, ok := property["enum"].([]any); ok {
			for _, value := range allowed {
				assert.NoError(t, try(key, value))
			}
			err := try(key, "sonstiges")
			require.ErrorContains(t, err, key)
			for _, value := range allowed {
				assert.ErrorContains(t, err, value.(string))
			}
			assert.Equal(t, len(allowed)-1, strings.Count(err.Error(), ", ")-1, "values of %s that the schema does not know", key)
		}
		for bound, beyond := range map[string]int{"minimum": -1, "maximum": 1} {
			if n, ok := property[bound].(int); ok {
				assert.NoError(t, try(key, n))
				assert.ErrorContains(t, try(key, n+beyond), key[strings.LastIndexByte(key, '.')+1:])
			}
		}
	}
}
