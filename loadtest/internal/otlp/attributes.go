// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/orderedremotewrite/orderedremotewriteexporter/loadtest/internal/schedule"
)

// SeriesKey is the attribute that tells streams apart: a letter and the digits of the stream's number. The letter is x for
// points whose other attributes are bad, as they are other series then.
const SeriesKey = "series"

const digits = 8

// The attribute that can go bad, and what it becomes then, with as many bytes.
const (
	goodKey  = "app.kubernetes.io/part-of"
	badKey   = "0 label-name, that is bad"
	goodText = "webshop-platform"
	badText  = "webshop-\xff\xfe\xfd\xfc\xc0\xaf\xf5\xff"
)

// described are the attributes that points have after those two: what instrumentation and Kubernetes say of a request.
// The points of a resource go through the values.
var described = []struct {
	key    string
	values []string
}{
	{"http.request.method", []string{"GET", "POST", "PUT", "DELETE", "PATCH"}},
	{"http.response.status_code", []string{"200", "201", "204", "301", "400", "404", "429", "500", "503"}},
	{"http.route", []string{"/api/v1/carts/{cart}", "/api/v1/orders/{order}/items", "/healthz", "/api/v1/customers/{customer}/addresses", "/api/v2/search"}},
	{"k8s.namespace.name", []string{"webshop-production"}},
	{"k8s.deployment.name", []string{"checkout"}},
	{"server.address", []string{"checkout.webshop-production.svc.cluster.local"}},
	{"network.protocol.version", []string{"1.1", "2"}},
	{"k8s.container.name", []string{"checkout", "istio-proxy"}},
	{"url.scheme", []string{"http", "https"}},
	{"k8s.cluster.name", []string{"prod-eu-west-1-blue"}},
	{"cloud.region", []string{"eu-west-1"}},
	{"cloud.availability_zone", []string{"eu-west-1a", "eu-west-1b", "eu-west-1c"}},
	{"deployment.environment.name", []string{"production"}},
	{"service.version", []string{"2026.11.3-4f2a9c1"}},
	{"telemetry.sdk.language", []string{"go"}},
	{"container.image.name", []string{"registry.example.com/webshop/checkout"}},
	{"host.arch", []string{"amd64"}},
	{"os.type", []string{"linux"}},
}

// appendAttributes adds the attributes of the point number i of its resource.
func (p *point) appendAttributes(b []byte, field protowire.Number, i, attributes int) []byte {
	add := func(key, value string) (keyAt, valueAt int) {
		kv := appendString(nil, 1, key)
		kv = appendNested(kv, 2, appendString(nil, 1, value))
		b = appendNested(b, field, kv)
		return len(b) - len(kv) + 2, len(b) - len(value)
	}
	_, p.series = add(SeriesKey, fmt.Sprintf("s%0*d", digits, 0))
	p.key, p.text = add(goodKey, goodText)
	for a := range attributes - 2 {
		if a < len(described) {
			values := described[a].values
			add(described[a].key, values[i/(a+1)%len(values)])
		} else {
			add(fmt.Sprintf("app.annotation.%03d", a), fmt.Sprintf("value-of-annotation-%03d", a))
		}
	}
	return b
}

// resourceAttributes encodes the Resource.
func resourceAttributes() ([]byte, resource) {
	var b []byte
	add := func(key, value string) int {
		kv := appendString(nil, 1, key)
		kv = appendNested(kv, 2, appendString(nil, 1, value))
		b = appendNested(b, 1, kv)
		return len(b)
	}
	const hex16 = "0000000000000000"
	add("service.name", "checkout")
	add("service.namespace", "webshop")
	var r resource
	r.instance = add("service.instance.id", "checkout-"+hex16) - len(hex16)
	r.pod = add("k8s.pod.name", "checkout-7f9d4c5b6-"+hex16[:5]) - 5
	r.uid = add("k8s.pod.uid", hex16) - len(hex16)
	r.node = add("k8s.node.name", "ip-10-0-"+hex16[:4]+".eu-west-1.compute.internal") - len("0000.eu-west-1.compute.internal")
	add("service.version", "2026.11.3-4f2a9c1")
	return b, r
}

// setResource makes a resource the one of that number and generation.
func (t *Template) setResource(r *resource, number, generation int) {
	identity := schedule.Mix(uint64(number), uint64(generation))
	putHex(t.body[r.instance:r.instance+16], identity)
	putHex(t.body[r.pod:r.pod+5], identity)
	putHex(t.body[r.uid:r.uid+16], schedule.Mix(identity, 1))
	putHex(t.body[r.node:r.node+4], uint64(number/30)) // pods of a node
}

func putHex(b []byte, v uint64) {
	for i := len(b) - 1; i >= 0; i-- {
		b[i] = "0123456789abcdef"[v&15]
		v >>= 4
	}
}

// setIdentity makes a point the one of a stream.
func (t *Template) setIdentity(p *point, letter byte, stream int) {
	b := t.body[p.series : p.series+1+digits]
	b[0] = letter
	high, low := decimals[stream/10_000%10_000], decimals[stream%10_000]
	copy(b[1:], high[:])
	copy(b[5:], low[:])
}

// decimals has the digits of the numbers up to 9999.
var decimals = func() (all [10_000][4]byte) {
	for i := range all {
		copy(all[i][:], fmt.Sprintf("%04d", i))
	}
	return all
}()
