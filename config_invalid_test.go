// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"context"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/confmap"
)

// invalid is a wrong configuration.
type invalid struct {
	// yaml is what is different from a configuration that has nothing but an endpoint.
	yaml string
	// want is what the error says. Each says it on one line.
	want string
}

const (
	badURL        = "not a valid URL (not shown, as it may hold a password, whose special characters must be percent-encoded)"
	isSet         = " (is an environment variable not set?)"
	insecureTakes = "http.tls.insecure: leave it out, with an http.endpoint that begins with https:// and no authority of its own it takes away all other keys of http.tls"
	labelChars    = ": letters, digits and _, no digit first"
	time30        = "must be a time with a unit of ms, s, m or h, like 500ms, 30s or 1h30m, not "
)

// silentlyWrong are configurations that the first version took without a word.
var silentlyWrong = []invalid{
	// Unknown keys in sections of the Collector's HTTP client.
	{`http: {header: {X-Scope-OrgID: a}}`, "http.header: unknown key, did you mean http.headers?"},
	{`http: {Headers: {X-Scope-OrgID: a}}`, "http.Headers: unknown key, did you mean http.headers?"},
	{`http: {timeuot: 5s}`, "http.timeuot: unknown key, did you mean http.timeout?"},
	{`http: {partitions: 4}`, "http.partitions: unknown key, did you mean partitions?"},
	{`http: {url: "http://host/"}`, "http.url: write http.endpoint"},
	{`http: {tls: {insecure_skip: true}}`, "http.tls.insecure_skip: unknown key, did you mean http.tls.insecure_skip_verify?"},
	{`http: {tls: {ca: /ca.pem}}`, "http.tls.ca: unknown key, known are ca_file, ca_pem, cert_file, cert_pem, cipher_suites, curve_preferences, include_insecure_cipher_suites, include_system_ca_certs_pool, insecure, insecure_skip_verify, key_file, key_pem, max_version, min_version, reload_interval, server_name_override, tpm"},
	{`http: {tls: {tpm: {enable: true}}}`, "http.tls.tpm.enable: unknown key, did you mean http.tls.tpm.enabled?"},
	{`http: {compression_params: {levels: 1}}`, "http.compression_params.levels: unknown key, did you mean http.compression_params.level?"},
	{`http: {middlewares: [{name: a}]}`, "http.middlewares[0].name: unknown key, known are id"},
	{`http: {headers: [{name: X-Scope-OrgID, valeu: a}]}`, `http.headers[0].valeu: unknown key, did you mean http.headers[0].value?`},

	// Numbers that were cut, and values that were nothing.
	{`partitions: 2.5`, "partitions: must be a whole number, not 2.5"},
	{`batch: {max_samples: 1000.5}`, "batch.max_samples: must be a whole number, not 1000.5"},
	{`queue: {max_size_bytes: 300000000.7}`, "queue.max_size_bytes: must be a whole number, not 3.000000007e+08"},
	{`retry_on_failure: {max_retries: 2.5}`, "retry_on_failure.max_retries: must be a whole number, not 2.5"},
	{`http: {max_conns_per_host: 8.5}`, "http.max_conns_per_host: must be a whole number, not 8.5"},
	{`batch: {flush_timeout: 5000000}`, "batch.flush_timeout: 5000000 has no unit, write 5000000s for seconds"},
	{`http: {keepalive: {idle_conn_timeout: 90}}`, "http.keepalive.idle_conn_timeout: 90 has no unit, write 90s for seconds"},
	{`batch: {flush_timeout: 2500000.5}`, "batch.flush_timeout: 2.5000005e+06 has no unit, write 2.5000005e+06s for seconds"},
	{`fallback:`, "fallback: has no value, leave the key out for the default true"},
	{`retry_on_429:`, "retry_on_429: has no value, leave the key out for the default true"},
	{`retry_on_failure: {enabled: }`, "retry_on_failure.enabled: has no value, leave the key out for the default true"},
	{`retry_on_failure: {max_elapsed_time: }`, "retry_on_failure.max_elapsed_time: has no value, leave the key out for the default 5m0s"},
	{`target_info: {enabled: }`, "target_info.enabled: has no value, leave the key out for the default true"},
	{`http: {force_attempt_http2: }`, "http.force_attempt_http2: has no value, leave the key out for the default true"},

	// Endpoints that are nobody's, or somebody else's.
	{`http: {endpoint: "http://host:99999/write"}`, "http.endpoint: the port must be from 1 to 65535"},
	{`http: {endpoint: "http://host:0/write"}`, "http.endpoint: the port must be from 1 to 65535"},
	{`http: {endpoint: "http://host:/write"}`, "http.endpoint: the port must be from 1 to 65535"},
	{`http: {endpoint: "http://user:12345/hunter2@host/write"}`, "http.endpoint: has an @ in its path, percent-encode it as %40, or a / in a password as %2F"},
	{`http: {endpoint: "http://user:1234#hunter2@host/write"}`, "http.endpoint: has a # that is not percent-encoded, what follows it would not be sent"},
	{`http: {endpoint: "http://host/write?tenant=a b"}`, "http.endpoint: has a space in its query, percent-encode it as %20"},
	{`http: {endpoint: "http://host/write "}`, "http.endpoint: begins or ends with space or a line break"},
	{`http: {proxy_url: "http://proxy:99999"}`, "http.proxy_url: the port must be from 1 to 65535"},
	{`http: {proxy_url: "proxy:8080"}`, "http.proxy_url: must begin with http://, https://, socks5:// or socks5h://"},
	{`http: {proxy_url: "http:///"}`, "http.proxy_url: has no host" + isSet},

	// Credentials that are not there.
	{`http: {headers: {X-Scope-OrgID: ""}}`, `http.headers: the value of "X-Scope-OrgID" is empty` + isSet},
	{`http: {headers: {X-Scope-OrgID: "${env:UNSET}"}}`, `http.headers: the value of "X-Scope-OrgID" is empty` + isSet},
	{`http: {headers: {X-Scope-OrgID: }}`, `http.headers: the value of "X-Scope-OrgID" is empty` + isSet},
	{`http: {headers: [{name: X-Scope-OrgID}]}`, `http.headers: the value of "X-Scope-OrgID" is empty` + isSet},
	{`http: {headers: {authorization: "Bearer "}}`, `http.headers: the value of "authorization" has nothing behind its scheme` + isSet},
	{`http: {headers: {Authorization: "Bearer ${env:UNSET}"}}`, `http.headers: the value of "Authorization" has nothing behind its scheme` + isSet},
	{`http: {headers: {Proxy-Authorization: basic}}`, `http.headers: the value of "Proxy-Authorization" has nothing behind its scheme` + isSet},
	{`http: {headers: {Authorization: "Basic Og=="}}`, `http.headers: the value of "Authorization" has neither name nor password` + isSet},
	{`http: {headers: {Authorization: "Basic user:hunter2"}}`, `http.headers: the value of "Authorization" must be Basic and the base64 of name:password, the extension basicauth makes it`},
	{`http: {headers: {X-Token: a, x-token: b}}`, `http.headers: "X-Token" and "x-token" are one header`},
	{`http: {endpoint: "http://user:@host/write"}`, "http.endpoint: has user information without a name or with an empty password" + isSet},
	{`http: {endpoint: "http://:hunter2@host/write"}`, "http.endpoint: has user information without a name or with an empty password" + isSet},
	{`http: {endpoint: "http://${env:UNSET}:${env:UNSET}@host/write"}`, "http.endpoint: has user information without a name or with an empty password" + isSet},
	{`http: {proxy_url: "http://user:@proxy/"}`, "http.proxy_url: has user information without a name or with an empty password" + isSet},
	{`http: {auth: {}}`, "http.auth.authenticator: must be the id of an authentication extension" + isSet},
	{`http: {auth: }`, "http.auth: is empty, name an authenticator or leave the key out"},
	{`http: {auth: {authenticator: }}`, "http.auth.authenticator: must be the id of an authentication extension" + isSet},
	{`http: {auth: {authenticator: a}, headers: {Authorization: Bearer a}}`, "http: only one can apply of Authorization in http.headers and http.auth"},
	{`http: {endpoint: "http://user:hunter2@host/", auth: {authenticator: a}}`, "http: only one can apply of user information in http.endpoint and http.auth"},
	{`http: {middlewares: [{}]}`, "http.middlewares[0].id: must be the id of an extension" + isSet},
	{`http: {headers: {idempotency-key: a}}`, `http.headers: "idempotency-key" must be another one for each request, and headers are the same for all`},
	{`http: {headers: {X-Idempotency-Key: a}}`, `http.headers: "X-Idempotency-Key" must be another one for each request, and headers are the same for all`},
	{`http: {endpoint: "https://host/", tls: {insecure: true, cert_file: /c.pem, key_file: /k.pem}}`, insecureTakes},
	{`http: {endpoint: "https://host/", tls: {insecure: true, insecure_skip_verify: true}}`, insecureTakes},
	{`http: {endpoint: "https://host/", tls: {cipher_suites: [TLS_NO_SUCH, TLS_NONE]}}`, `http.tls.cipher_suites: failed to load TLS config: invalid TLS cipher suite: "TLS_NO_SUCH"; invalid TLS cipher suite: "TLS_NONE"`},
	{`http: {endpoint: "https://host/", tls: {insecure: true, ca_file: /ca.pem, max_version: "1.4"}}`, "http.tls.max_version: must be one of 1.0, 1.1, 1.2, 1.3, not a string"},
	{`http: {tls: {ca_file: /ca.pem}}`, "http.tls: certificates have no effect with an http.endpoint that begins with http://, nothing would be encrypted"},

	// Patterns that select nothing.
	{`resource_constant_labels: {included: [""]}`, "resource_constant_labels.included: an empty pattern selects nothing, leave it out"},
	{`resource_constant_labels: {excluded: ["host.name", ""]}`, "resource_constant_labels.excluded: an empty pattern selects nothing, leave it out"},
	{`resource_constant_labels: {included: "k8s.*, host.name"}`, `resource_constant_labels.included: " host.name" begins or ends with space, which is part of a pattern`},
	{`resource_constant_labels: {included: [".*"]}`, isRegexp("included", ".*")},
	{`resource_constant_labels: {included: ["^x$"]}`, isRegexp("included", "^x$")},
	{`resource_constant_labels: {excluded: ["(a|b)"]}`, isRegexp("excluded", "(a|b)")},
	{`resource_constant_labels: {included: ["k8s\\..+"]}`, isRegexp("included", `k8s\\..+`)},
	{`resource_constant_labels: {included: ["host.name"], excluded: ["*"]}`, `resource_constant_labels.excluded: "*" takes away all that is included by it`},
	{`resource_constant_labels: {included: ["a", "b"], excluded: ["b"]}`, `resource_constant_labels.excluded: "b" takes away all that is included by it`},

	// Limits that contradict each other, or can never be reached.
	{`http: {keepalive: {max_idle_conns: 10, max_idle_conns_per_host: 20}}`, "http.keepalive.max_idle_conns: 10 is less than http.keepalive.max_idle_conns_per_host 20"},
	{`http: {keepalive: {max_idle_conns: -1}}`, "http.keepalive.max_idle_conns: must not be negative, not -1"},
	{`http: {keepalive: {idle_conn_timeout: -1s}}`, "http.keepalive.idle_conn_timeout: must not be negative, not -1s"},
	{`http: {max_conns_per_host: -1}`, "http.max_conns_per_host: must not be negative, not -1"},
	{`http: {write_buffer_size: 4000000000000000000}`, "http.write_buffer_size: must be at most 16777216, not 4000000000000000000"},
	{`http: {read_buffer_size: 16777217}`, "http.read_buffer_size: must be at most 16777216, not 16777217"},
	{`http: {read_buffer_size: -1}`, "http.read_buffer_size: must not be negative, not -1"},
	{`http: {http2_read_idle_timeout: -1s}`, "http.http2_read_idle_timeout: must not be negative, not -1s"},
	{`http: {http2_ping_timeout: 5s}`, "http.http2_ping_timeout: has no effect without http.http2_read_idle_timeout"},
	{`http: {compression_params: {level: 3}}`, "http.compression_params: has no effect, the Remote-Write protocol prescribes its own compression"},
	{`series_idle_timeout: 2000000h`, "series_idle_timeout: must be at most 876000h0m0s, not 2000000h0m0s"},
	{`queue: {max_age: 2000000h}`, "queue.max_age: must be at most 876000h0m0s, not 2000000h0m0s"},
	{`dead_letter: {max_size_bytes: -1}`, "dead_letter.max_size_bytes: must be at least 0, not -1"},
	{`external_labels: {cluster: "${bytes:}"}`, `external_labels: the value of "cluster" is not valid UTF-8`},
}

func isRegexp(key, pattern string) string {
	return "resource_constant_labels." + key + `: "` + pattern + `" looks like a regular expression, but * stands for any characters, ? for one, ` +
		"and all others for themselves (k8s.* is what begins with k8s. and * is everything)"
}

func reservedHeader(name string) string {
	return `http.headers: "` + name + `" is set by the Remote-Write protocol and cannot be overridden`
}

const noEndpoint = "http.endpoint: must be set to the URL of a Remote-Write endpoint, like http://localhost:9090/api/v1/write" + isSet

// loudlyWrong are configurations that the first version refused too, if not in these words.
var loudlyWrong = []invalid{
	{`http: {endpoint: }`, noEndpoint},
	{`http: {endpoint: "localhost:9090/api/v1/write"}`, "http.endpoint: must begin with http:// or https://"},
	{`http: {endpoint: "ftp://localhost/write"}`, "http.endpoint: must begin with http:// or https://"},
	{`http: {endpoint: "10.0.0.1:9090/api/v1/write"}`, "http.endpoint: must begin with http:// or https://"},
	{`http: {endpoint: "user:hunter2@10.0.0.1:9090/api/v1/write"}`, "http.endpoint: must begin with http:// or https://"},
	{`http: {endpoint: "http:/localhost/write"}`, "http.endpoint: must begin with http:// or https://"},
	{`http: {proxy_url: "10.0.0.1:8080"}`, "http.proxy_url: must begin with http://, https://, socks5:// or socks5h://"},
	{`http: {endpoint: "http:///api/v1/write"}`, "http.endpoint: has no host" + isSet},
	{`http: {endpoint: "http://${env:UNSET}:9090/"}`, "http.endpoint: has no host" + isSet},
	{`http: {endpoint: "http://user:secret/word@localhost/"}`, "http.endpoint: " + badURL},
	{`http: {proxy_url: "http://user:secret/word@localhost/"}`, "http.proxy_url: " + badURL},
	{`http: {timeout: 0s}`, "http.timeout: must be at least 1ms, not 0s"},
	{`http: {timeout: 30}`, "http.timeout: 30 has no unit, write 30s for seconds"},
	{`http: {timeout: "30"}`, "http.timeout: " + time30 + "a string"},
	{`http: {timeout: }`, "http.timeout: has no value, leave the key out for the default 30s"},
	{`http: {compression: snappy}`, `http.compression: must be empty or none, not "snappy": the Remote-Write protocol prescribes its own`},
	{`http: {headers: {content-encoding: gzip}}`, reservedHeader("content-encoding")},
	{`http: {headers: {Content-TYPE: a}}`, reservedHeader("Content-TYPE")},
	{`http: {headers: {user-agent: a}}`, reservedHeader("user-agent")},
	{`http: {headers: {x-prometheus-remote-write-version: "1"}}`, reservedHeader("x-prometheus-remote-write-version")},
	{`http: {headers: {Content-Length: "1"}}`, reservedHeader("Content-Length")},
	{`http: {headers: {transfer-encoding: chunked}}`, reservedHeader("transfer-encoding")},
	{`http: {headers: {Host: "receiver.test/write"}}`, `http.headers: the value of "Host" must be a host name, with a port if need be`},
	{`http: {headers: {host: "a b"}}`, `http.headers: the value of "host" must be a host name, with a port if need be`},
	{`http: {headers: {"": a}}`, `http.headers: "" is not a valid header name`},
	{`http: {headers: {X Token: a}}`, `http.headers: "X..." is not a valid header name`},
	{`http: {headers: {"Authorization: Bearer hunter2": a}}`, `http.headers: "Authorization..." is not a valid header name`},
	{`http: {headers: [Authorization: Bearer hunter2]}`, "http.headers[0].Authorization: unknown key, known are name, value"},
	{`http: {headers: {Schlüssel: a}}`, `http.headers: "Schl..." is not a valid header name`},
	{`http: {headers: {X-Token: "hunter2\n"}}`, `http.headers: the value of "X-Token" contains a line break or another control character`},
	{`http: {headers: [{name: X-Token, value: a}, {name: X-Token, value: b}]}`, "http::headers: duplicate keys in map-style list: [X-Token]"},
	{`http: {headers: {X-Scope-OrgID: 5}}`, `http.headers["X-Scope-OrgID"]: must be a string (a number or a truth value needs quotes), not 5`},
	{`http: {headers: "Authorization: Bearer hunter2"}`, "http.headers: must be a section of names and values, not a string"},
	{`http: {headers: [Bearer hunter2]}`, "http.headers[0]: must be a section with keys, not a string"},
	{`http: {auth: Bearer hunter2}`, "http.auth: must be a section with keys, not a string"},
	{`http: {auth: {authenticatr: a}}`, "http.auth.authenticatr: unknown key, did you mean http.auth.authenticator?"},
	{`http: {keepalive: {max_idle: 5}}`, "http.keepalive.max_idle: unknown key, did you mean http.keepalive.max_idle_conns or http.keepalive.max_idle_conns_per_host?"},
	{`http: {keepalive: {enabled: }}`, "http.keepalive.enabled: has no value, leave the key out for the default true"},
	{`http: {keepalive: {enabled: "no"}}`, "http.keepalive.enabled: must be true or false, not a string"},
	{`http: {cookies: {jar: a}}`, "http.cookies.jar: unknown key, the section has none"},
	{`http: {auth: {authenticator: Bearer hunter2}}`, "http.auth.authenticator: must be the id of an extension, like file_storage or oauth2client/tenant"},
	{`http: {compression: hunter2}`, "http.compression: is not valid"},
	{`http: {tls: {insecure: "yes"}}`, "http.tls.insecure: must be true or false, not a string"},
	{`http: {tls: [a]}`, "http.tls: must be a section with keys, not a list"},
	{`http: "http://user:hunter2@host/"`, "http: must be a section with keys, not a string"},

	{`protobuf_message: prometheus.ReadRequest`, `protobuf_message: must be one of prometheus.WriteRequest, io.prometheus.write.v2.Request, not "prometheus.ReadRequest"`},
	{`metadata_interval: 0s`, "metadata_interval: must be at least 1ms, not 0s"},
	{`convert_explicit_histograms_to_nhcb: true`, "convert_explicit_histograms_to_nhcb: needs protobuf_message io.prometheus.write.v2.Request"},
	{`keep_classic_histograms: true`, "keep_classic_histograms: has no effect without convert_explicit_histograms_to_nhcb"},
	{`{protobuf_message: io.prometheus.write.v2.Request, send_metadata: true}`, "send_metadata: has no effect with protobuf_message io.prometheus.write.v2.Request, which always has metadata"},
	{`translation_strategy: underscoreescapingwithsuffixes`, "translation_strategy: must be one of UnderscoreEscapingWithSuffixes, UnderscoreEscapingWithoutSuffixes, " +
		`NoUTF8EscapingWithSuffixes, NoTranslation, not "underscoreescapingwithsuffixes"`},
	{`translation_strategy: NoUTF8EscapingWithSuffixes`, "translation_strategy: NoUTF8EscapingWithSuffixes needs UTF-8 names, which protobuf_message prometheus.WriteRequest cannot carry"},
	{`translation_strategy: NoTranslation`, "translation_strategy: NoTranslation needs UTF-8 names, which protobuf_message prometheus.WriteRequest cannot carry"},
	{`target_info: {enabled: false, keep_identifying_resource_attributes: true}`, "target_info.keep_identifying_resource_attributes: has no effect without target_info.enabled"},
	{`{protobuf_message: io.prometheus.write.v2.Request, translation_strategy: NoTranslation, label_name_preserve_multiple_underscores: true}`, "label_name_preserve_multiple_underscores: has no effect with translation_strategy NoTranslation, which leaves label names as they are"},
	{`namespace: my-shop`, `namespace: "my-shop" is not a valid metric name: letters, digits, _ and :, no digit first`},
	{`namespace: 5`, "namespace: must be a string (a number or a truth value needs quotes), not 5"},
	{`external_labels: {"": a}`, `external_labels: "" is not a valid label name` + labelChars},
	{`external_labels: {9lives: a}`, `external_labels: "9lives" is not a valid label name` + labelChars},
	{`external_labels: {k8s.cluster: a}`, `external_labels: "k8s.cluster" is not a valid label name` + labelChars},
	{`external_labels: {__name__: a}`, `external_labels: "__name__" is reserved: names that begin with __ are Prometheus's own`},
	{`external_labels: {le: a, quantile: a}`, `external_labels: "le" is reserved for histograms and summaries; external_labels: "quantile" is reserved for histograms and summaries`},
	{`external_labels: {cluster: ""}`, `external_labels: "cluster" has an empty value` + isSet},
	{`external_labels: {cluster: 5}`, `external_labels["cluster"]: must be a string (a number or a truth value needs quotes), not 5`},
	{`external_labels: [cluster]`, "external_labels: must be a section with keys, not a list"},
	{`resource_constant_labels: {included: 5}`, "resource_constant_labels.included: must be a list, not 5"},
	{`resource_constant_labels: {included: [{a: b}]}`, "resource_constant_labels.included[0]: must be a string, not a section with keys"},

	{`max_labels: -1`, "max_labels: must be at least 0, not -1"},

	{`partitions: 0`, "partitions: must be at least 1, not 0"},
	{`partitions: 1025`, "partitions: must be at most 1024, not 1025"},
	{`partitions: "8"`, `partitions: must be a whole number, not the string "8"`},
	{`partitions: true`, "partitions: must be a whole number, not true"},
	{`partitions: [8]`, "partitions: must be a whole number, not a list"},
	{`partitions:`, "partitions: has no value, leave the key out for the default 32"},
	{`partitions: .nan`, "partitions: must be a whole number, not NaN"},
	{`partitions: .inf`, "partitions: +Inf is out of range"},
	{`partitions: 1e300`, "partitions: 1e+300 is out of range"},
	{`partitions: 18446744073709551615`, "partitions: 18446744073709551615 is out of range"},
	{`max_in_flight: -1`, "max_in_flight: must be at least 0, not -1"},
	{`max_in_flight: 1025`, "max_in_flight: must be at most 1024, not 1025"},
	{`max_in_flight: 2.5`, "max_in_flight: must be a whole number, not 2.5"},
	{`fallback: "yes"`, `fallback: must be true or false, not the string "yes"`},
	{`fallback: 1`, "fallback: must be true or false, not 1"},
	{`batch: [a]`, "batch: must be a section with keys, not a list"},
	{`batch: 5`, "batch: must be a section with keys, not 5"},
	{`batch: {max_samples: 0, max_size_bytes: 16383, flush_timeout: 0s}`, "batch.max_samples: must be at least 1, not 0; batch.max_size_bytes: must be at least 16384, not 16383; batch.flush_timeout: must be at least 1ms, not 0s"},
	{`{batch: {max_size_bytes: 2147483648}, queue: {max_size_bytes: 1000000000000}}`, "batch.max_size_bytes: must be at most 2147483647, not 2147483648"},
	{`batch: {flush_timeout: soon}`, "batch.flush_timeout: " + time30 + `the string "soon"`},
	{`batch: {flush_timeout: 1d}`, "batch.flush_timeout: " + time30 + `the string "1d"`},
	{`batch: {flush_timeout: true}`, "batch.flush_timeout: must be a time with a unit, like 30s, not true"},
	{`batch: {flush_timeout: 99999999h}`, "batch.flush_timeout: " + time30 + `the string "99999999h"`},
	{`queue: {max_size_bytes: 11999999}`, "queue.max_size_bytes: must be at least 4 * batch.max_size_bytes = 12000000, not 11999999"},
	{`queue: {max_size_bytes: -1}`, "queue.max_size_bytes: must be at least 4 * batch.max_size_bytes = 12000000, not -1"},
	{`queue: {max_size_bytes: 10MB}`, "queue.max_size_bytes: must be at least 4 * batch.max_size_bytes = 12000000, not 10000000"},
	{`queue: {max_size_bytes: 256 megabytes}`, `queue.max_size_bytes: must be a number of bytes, or one with a unit like 256MiB or 3MB, not "256 megabytes"`},
	{`queue: {max_size_bytes: 256M}`, `queue.max_size_bytes: must have a unit that is not ambiguous: 256MB is decimal and 256MiB is binary, not "256M"`},
	{`queue: {max_size_bytes: 0.3B}`, `queue.max_size_bytes: must be a whole number of bytes, not "0.3B"`},
	{`queue: {max_size_bytes: 9999999999TiB}`, `queue.max_size_bytes: is too large: "9999999999TiB"`},
	{`queue: {on_full: wait}`, `queue.on_full: must be one of block, reject, drop_oldest, drop_newest, not "wait"`},
	{`queue: {block_timeout: 0s}`, "queue.block_timeout: must be at least 1ms, not 0s"},
	{`queue: {max_age: -1s}`, "queue.max_age: must not be negative, not -1s"},
	{`queue: {max_age: 1s}`, "queue.max_age: must be 0 or greater than batch.flush_timeout 1s, not 1s: all samples would be too old"},
	{`queue: {storage: }`, "queue.storage: is empty, name an extension or leave the key out"},
	{`queue: {storage: ""}`, "queue.storage: is empty, name an extension or leave the key out"},
	{`queue: {storage: "${env:STORAGE}"}`, "queue.storage: is empty, name an extension or leave the key out"},
	{`queue: {storage: /var/lib/otelcol}`, "queue.storage: must be the id of an extension, like file_storage or oauth2client/tenant"},
	{`queue: {storage: file_storage/}`, "queue.storage: must be the id of an extension, like file_storage or oauth2client/tenant"},
	{`queue: {storage: 5}`, "queue.storage: must be a string (a number or a truth value needs quotes), not 5"},
	{`queue: {storage: true}`, "queue.storage: must be a string (a number or a truth value needs quotes), not true"},
	{`queue: {storage: {directory: /d}}`, "queue.storage: must be a string (a number or a truth value needs quotes), not a section with keys"},
	{`queue: {storage: file_storage, max_disk_bytes: 67108863}`, "queue.max_disk_bytes: must be at least a quarter of queue.max_size_bytes = 67108864, not 67108863"},
	{`queue: {storage: file_storage, max_size_bytes: 1GiB, max_disk_bytes: 100MiB}`, "queue.max_disk_bytes: must be at least a quarter of queue.max_size_bytes = 268435456, not 104857600"},
	{`queue: {max_disk_bytes: 16383}`, "queue.max_disk_bytes: must be at least 16384, not 16383"},
	{`queue: {max_disk_bytes: 10G}`, `queue.max_disk_bytes: must have a unit that is not ambiguous: 10GB is decimal and 10GiB is binary, not "10G"`},
	{`queue: {max_disk_size: 10GB}`, "queue.max_disk_size: unknown key, did you mean queue.max_disk_bytes?"},

	{`retry_on_failure: {initial_interval: 0s}`, "retry_on_failure.initial_interval: must be at least 1ms, not 0s"},
	{`retry_on_failure: {enabled: false, initial_interval: -1s}`, "retry_on_failure.initial_interval: must not be negative, not -1s"},
	{`retry_on_failure: {initial_interval: 10s, max_elapsed_time: 0s}`, "retry_on_failure.max_interval: 5s is less than retry_on_failure.initial_interval 10s"},
	{`retry_on_failure: {max_interval: 2000000h, max_elapsed_time: 0s}`, "retry_on_failure.max_interval: must be at most 876000h0m0s, not 2000000h0m0s"},
	{`retry_on_failure: {multiplier: 0.5}`, "retry_on_failure.multiplier: must be at least 1, not 0.5"},
	{`retry_on_failure: {multiplier: "2"}`, `retry_on_failure.multiplier: must be a number, not the string "2"`},
	{`retry_on_failure: {multiplier: .nan, randomization_factor: .nan}`, "retry_on_failure.randomization_factor: must be a number from 0 to 1, not NaN; retry_on_failure.multiplier: must be at least 1, not NaN"},
	{`retry_on_failure: {multiplier: .inf}`, "retry_on_failure.multiplier: must be at least 1, not +Inf"},
	{`retry_on_failure: {randomization_factor: 1.5}`, "retry_on_failure.randomization_factor: must be a number from 0 to 1, not 1.5"},
	{`retry_on_failure: {max_elapsed_time: 1s}`, "retry_on_failure.max_elapsed_time: must be 0 or at least retry_on_failure.max_interval 5s, not 1s"},
	{`retry_on_failure: {max_elapsed_time: -1s}`, "retry_on_failure.max_elapsed_time: must not be negative, not -1s"},
	{`retry_on_failure: {max_retries: -1}`, "retry_on_failure.max_retries: must be at least 0, not -1"},
	{`retry_on_failure: {max_retry_after: 0s}`, "retry_on_failure.max_retry_after: must be at least 1ms, not 0s"},
	{`retry_on_failure: {maxretries: 5}`, "retry_on_failure.maxretries: unknown key, did you mean retry_on_failure.max_retries?"},

	{`on_error: {retries_exhausted: retry}`, `on_error.retries_exhausted: must be one of discard, fail, not "retry"`},
	{`on_error: {fatal: ignore}`, `on_error.fatal: must be one of pause, fail, discard, retry, not "ignore"`},
	{`{on_error: {fatal: retry}, retry_on_failure: {enabled: false}}`, "on_error.fatal: retry needs retry_on_failure.enabled"},
	{`on_error: {rejected: fail}`, `on_error.rejected: must be one of discard, isolate, not "fail"`},
	{`on_error: {max_isolation_requests: 1}`, "on_error.max_isolation_requests: must be at least 2, not 1"},
	{`protobuf_message: 2.0`, "protobuf_message: must be one of prometheus.WriteRequest, io.prometheus.write.v2.Request, not 2"},
	{`translation_strategy: false`, "translation_strategy: must be one of UnderscoreEscapingWithSuffixes, UnderscoreEscapingWithoutSuffixes, NoUTF8EscapingWithSuffixes, NoTranslation, not false"},
	{`queue: {on_full: 1}`, "queue.on_full: must be one of block, reject, drop_oldest, drop_newest, not 1"},
	{`on_error: {fatal: {fail: true}}`, "on_error.fatal: must be one of pause, fail, discard, retry, not a section with keys"},
	{`out_of_order: true`, "out_of_order: must be one of separate, drop, send, not true"},
	{`out_of_order: sort`, `out_of_order: must be one of separate, drop, send, not "sort"`},
	{`max_future: 0s`, "max_future: must be at least 1ms, not 0s"},
	{`max_past: -1h`, "max_past: must be at least 1ms, not -1h0m0s"},
	{`max_past: 3600`, "max_past: 3600 has no unit, write 3600s for seconds"},
	{`series_idle_timeout: 0s`, "series_idle_timeout: must be at least 1ms, not 0s"},
	{`shutdown_timeout: -1s`, "shutdown_timeout: must be at least 1ms, not -1s"},
	{`dead_letter: {directory: dead-letters, max_size_bytes: 5999999}`, "dead_letter.max_size_bytes: must be at least 6000000, not 5999999; " +
		`dead_letter.directory: "dead-letters" is not an absolute path`},
	{`{http: {endpoint: "", timeout: -1s}, partitions: -1, out_of_order: ""}`, noEndpoint + "; http.timeout: must be at least 1ms, not -1s; partitions: must be at least 1, not -1; " +
		`out_of_order: must be one of separate, drop, send, not ""`},

	{`partition: 8`, "partition: unknown key, did you mean partitions?"},
	{`retry: {enabled: false}`, "retry: unknown key, did you mean retry_on_429 or retry_on_failure?"},
	{`flush_timout: 8s`, "flush_timout: unknown key, did you mean batch.flush_timeout?"},
	{`max_elapsed_time: 8s`, "max_elapsed_time: unknown key, did you mean retry_on_failure.max_elapsed_time?"},
	{`max_size_bytes: 8`, "max_size_bytes: unknown key, did you mean batch.max_size_bytes or dead_letter.max_size_bytes or queue.max_size_bytes?"},
	{`queue: {colour: red}`, "queue.colour: unknown key, known are block_timeout, max_age, max_disk_bytes, max_size_bytes, on_full, storage"},
	{`{partition: 8, batch: 5, queue: {max_age: 1}}`, "batch: must be a section with keys, not 5; partition: unknown key, did you mean partitions?; queue.max_age: 1 has no unit, write 1s for seconds"},
}

// pasted are keys of other exporters, and the key that the answer names.
var pasted = []struct{ yaml, key, ours string }{
	{`endpoint: http://host/`, "endpoint", "http.endpoint"},
	{`headers: {a: b}`, "headers", "http.headers"},
	{`tls: {insecure: true}`, "tls", "http.tls"},
	{`auth: {authenticator: a}`, "auth", "http.auth"},
	{`timeout: 5s`, "timeout", "http.timeout"},
	{`compression: snappy`, "compression", "leave it out"},
	{`proxy_url: a`, "proxy_url", "http.proxy_url"},
	{`max_idle_conns: 5`, "max_idle_conns", "http.keepalive.max_idle_conns"},
	{`remote_write_queue: {enabled: true, queue_size: 1000, num_consumers: 5}`, "remote_write_queue", "queue.max_size_bytes"},
	{`wal: {directory: /wal}`, "wal", "queue.storage"},
	{`resource_to_telemetry_conversion: {enabled: true}`, "resource_to_telemetry_conversion", `resource_constant_labels.included: ["*"]`},
	{`resource_constant_labels: {enabled: true}`, "resource_constant_labels.enabled", `resource_constant_labels.included: ["*"]`},
	{`add_metric_suffixes: false`, "add_metric_suffixes", "translation_strategy: UnderscoreEscapingWithoutSuffixes"},
	{`max_batch_size_bytes: 3000000`, "max_batch_size_bytes", "batch.max_size_bytes"},
	{`max_batch_request_parallelism: 5`, "max_batch_request_parallelism", "max_in_flight"},
	{`export_created_metric: {enabled: true}`, "export_created_metric", "io.prometheus.write.v2.Request"},
	{`include_metadata_keys: [X-Scope-OrgID]`, "include_metadata_keys", "http.headers"},
	{`sending_queue: {queue_size: 1000}`, "sending_queue", "queue.max_size_bytes"},
	{`batcher: {enabled: true}`, "batcher", "batch.max_samples"},
	{`batch: {min_size: 5, max_size: 6}`, "batch.max_size", "batch.max_samples"},
	{`batch: {timeout: 5s}`, "batch.timeout", "batch.flush_timeout"},
	{`batch: {send_batch_size: 5, send_batch_max_size: 6}`, "batch.send_batch_max_size", "batch.max_samples"},
	{`queue: {num_consumers: 5}`, "queue.num_consumers", "max_in_flight"},
	{`queue: {queue_size: 5}`, "queue.queue_size", "queue.max_size_bytes"},
	{`queue: {block_on_overflow: true}`, "queue.block_on_overflow", "queue.on_full: block"},
	{`metrics_endpoint: http://host/`, "metrics_endpoint", "http.endpoint"},
	{`url: http://host/`, "url", "http.endpoint"},
	{`remote_timeout: 5s`, "remote_timeout", "http.timeout"},
	{`queue_config: {max_shards: 5}`, "queue_config", "max_in_flight"},
	{`basic_auth: {username: a}`, "basic_auth", "http.auth.authenticator"},
	{`http: {basic_auth: {username: a}}`, "http.basic_auth", "http.auth.authenticator"},
	{`http: {remote_timeout: 5s}`, "http.remote_timeout", "http.timeout"},
	{`write_relabel_configs: []`, "write_relabel_configs", "transform"},
}

// resolved is what the Collector makes of a YAML text with variables: none is set but NUMBER and BOOL.
func resolved(t *testing.T, text string) *confmap.Conf {
	t.Helper()
	variables := map[string]string{"env:NUMBER": "123", "env:BOOL": "true", "env:SIZE": "256MiB", "env:TIME": "30s", "env:BATCH": "max_samples: 7", "bytes:": "\"\xff\""}
	resolver, err := confmap.NewResolver(confmap.ResolverSettings{
		URIs: []string{"text:"},
		ProviderFactories: []confmap.ProviderFactory{
			providerOf("text", func(string) (*confmap.Retrieved, error) { return confmap.NewRetrievedFromYAML([]byte(text)) }),
			providerOf("env", func(uri string) (*confmap.Retrieved, error) {
				return confmap.NewRetrievedFromYAML([]byte(variables[uri]))
			}),
			providerOf("bytes", func(string) (*confmap.Retrieved, error) { return confmap.NewRetrieved("\xff") }),
		},
	})
	require.NoError(t, err)
	conf, err := resolver.Resolve(t.Context())
	require.NoError(t, err, text)
	return conf
}

// provider gets what stands behind a scheme.
type provider struct {
	scheme string
	get    func(uri string) (*confmap.Retrieved, error)
}

func providerOf(scheme string, get func(uri string) (*confmap.Retrieved, error)) confmap.ProviderFactory {
	return confmap.NewProviderFactory(func(confmap.ProviderSettings) confmap.Provider { return provider{scheme, get} })
}

func (p provider) Retrieve(_ context.Context, uri string, _ confmap.WatcherFunc) (*confmap.Retrieved, error) {
	return p.get(uri)
}
func (p provider) Scheme() string               { return p.scheme }
func (provider) Shutdown(context.Context) error { return nil }

// loadWith loads a configuration that differs from one with nothing but an endpoint.
func loadWith(t *testing.T, yaml string) (*Config, error) {
	t.Helper()
	conf := confmap.NewFromStringMap(map[string]any{"http": map[string]any{"endpoint": "http://localhost/"}})
	require.NoError(t, conf.Merge(resolved(t, yaml)))
	return load(conf)
}

// TestInvalidConfigs: an error names the key, what is wrong, and what would be right, on one line, as the Collector names
// the exporter only once.
func TestInvalidConfigs(t *testing.T) {
	assert.Greater(t, len(silentlyWrong)+len(loudlyWrong)+len(pasted), 60)
	for _, tc := range append(silentlyWrong, loudlyWrong...) {
		t.Run(tc.yaml, func(t *testing.T) {
			_, err := loadWith(t, tc.yaml)
			require.EqualError(t, err, tc.want)
			assert.NotContains(t, err.Error(), "hunter2")
		})
	}
}

// TestKeysOfOtherExporters are answered with what to write.
func TestKeysOfOtherExporters(t *testing.T) {
	for _, tc := range pasted {
		t.Run(tc.yaml, func(t *testing.T) {
			_, err := loadWith(t, tc.yaml)
			require.ErrorContains(t, err, tc.key+": ")
			assert.ErrorContains(t, err, tc.ours)
			assert.NotContains(t, err.Error(), "\n")
		})
	}
}

// TestAnswersToForeignKeysNameKeysThatExist.
func TestAnswersToForeignKeysNameKeysThatExist(t *testing.T) {
	known := knownKeys()
	for foreign, answer := range foreignKeys {
		assert.NotContains(t, known, foreign)
		for _, word := range strings.FieldsFunc(answer, func(r rune) bool { return strings.ContainsRune(" ,:", r) }) {
			if section, key, ok := strings.Cut(word, "."); ok && key != "" && slices.Contains(known, section) {
				assert.Contains(t, known, word, foreign)
			}
		}
	}
}

// TestVariablesInConfigs: what a variable holds is read as what the key needs.
func TestVariablesInConfigs(t *testing.T) {
	cfg, err := loadWith(t, `
http: {headers: {X-Scope-OrgID: "${env:NUMBER}"}, timeout: "${env:TIME}"}
namespace: ${env:BOOL}
external_labels: {cluster: "${env:NUMBER}"}
batch: ${env:BATCH}
partitions: ${env:NUMBER}
queue: {max_size_bytes: 1GiB}
fallback: ${env:BOOL}
dead_letter: {max_size_bytes: "${env:SIZE}"}
send_metadata: ${env:UNSET}
`)
	require.NoError(t, err)
	tenant, _ := cfg.HTTP.Headers.Get("X-Scope-OrgID")
	assert.Equal(t, "123", string(tenant))
	assert.Equal(t, "true", cfg.Namespace)
	assert.Equal(t, map[string]string{"cluster": "123"}, cfg.ExternalLabels)
	assert.Equal(t, 7, cfg.Batch.MaxSamples)
	assert.Equal(t, 123, cfg.Partitions)
	assert.True(t, cfg.Fallback)
	assert.Equal(t, ByteSize(256<<20), cfg.DeadLetter.MaxSizeBytes)
}

// TestErrorsOfTheCollectorAreOnOneLine: confmap has a line for each key, and further ones that name the section.
func TestErrorsOfTheCollectorAreOnOneLine(t *testing.T) {
	var cfg struct {
		A struct {
			B int `mapstructure:"b"`
		} `mapstructure:"a"`
		C configoptional.Optional[struct {
			D int `mapstructure:"d"`
		}] `mapstructure:"c"`
	}
	err := resolved(t, `{a: {b: x}, c: {d: x}}`).Unmarshal(&cfg)
	require.ErrorContains(t, err, "\n")
	assert.Equal(t, `'a.b' expected type 'int', got unconvertible type 'string'; 'c' 'd' expected type 'int', got unconvertible type 'string'`, withoutLines(err))
}

// TestAnyValueOfAnyKeyIsReadOrRefused: no value makes the exporter panic, and whatever is refused is refused with its key.
func TestAnyValueOfAnyKeyIsReadOrRefused(t *testing.T) {
	values := []any{
		nil, "", "a", "1", "true", 0, 1, -1, 2.5, 1e300, math.NaN(), math.Inf(-1), int64(math.MinInt64), uint64(math.MaxUint64), true, false,
		[]any{},
		[]any{nil},
		[]any{1, "a"},
		[]any{[]any{}},
		[]any{map[string]any{}},
		[]any{map[string]any{"": nil}},
		map[string]any{},
		map[string]any{"": nil},
		map[string]any{"a": 1},
		map[string]any{"enabled": nil},
		map[string]any{"enabled": "no"},
		map[string]any{"a": map[string]any{"b": []any{nil}}},
		time.Second, ByteSize(-5),
		struct{}{},
	}
	refused := 0
	for _, key := range knownKeys() {
		for _, value := range values {
			given := value
			for _, name := range slices.Backward(strings.Split(key, ".")) {
				given = map[string]any{name: given}
			}
			conf := confmap.NewFromStringMap(map[string]any{"http": map[string]any{"endpoint": "http://localhost/"}})
			require.NoError(t, conf.Merge(confmap.NewFromStringMap(given.(map[string]any))))
			if _, err := load(conf); err != nil {
				refused++
				top, _, _ := strings.Cut(key, ".")
				assert.ErrorContains(t, err, top, "%s: %v", key, value)
			}
		}
	}
	t.Logf("%d of %d refused", refused, len(knownKeys())*len(values))
}

func TestByteSizes(t *testing.T) {
	for text, want := range map[string]ByteSize{
		"0": 0, "5": 5, "5B": 5, "5 B": 5, "1kB": 1000, "1KB": 1000, "3MB": 3_000_000, "2GB": 2_000_000_000, "1TB": 1e12,
		"1KiB": 1 << 10, "256MiB": 256 << 20, "256Mi": 256 << 20, "1.5GiB": 3 << 29, "8191Ti": 8191 << 40, "0.5KiB": 512,
	} {
		var got ByteSize
		require.NoError(t, got.UnmarshalText([]byte(text)), text)
		assert.Equal(t, want, got, text)
	}
	for _, text := range []string{"", "-1", "1e9", "MiB", "5mb", "5MIB", "5 MiB ", "5K", "0x10", "1.5", "8388608TiB", "5MiBB", "NaN", "1,000"} {
		got := ByteSize(7)
		require.Error(t, got.UnmarshalText([]byte(text)), text)
		assert.Equal(t, ByteSize(7), got, text)
	}
}
