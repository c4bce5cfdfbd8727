// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/extension/extensionmiddleware"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/orderedremotewrite/orderedremotewriteexporter/integration/internal/promserver"
	"github.com/orderedremotewrite/orderedremotewriteexporter/integration/internal/rig"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/rwtest"
)

// transport is an extension that puts a transport in the place of the network.
type transport struct {
	component.StartFunc
	component.ShutdownFunc
	to http.RoundTripper
}

var _ extensionmiddleware.HTTPClient = (*transport)(nil)

// GetHTTPRoundTripper implements extensionmiddleware.HTTPClient.
func (t *transport) GetHTTPRoundTripper(context.Context) (extensionmiddleware.WrapHTTPRoundTripperFunc, error) {
	return func(context.Context, http.RoundTripper) (http.RoundTripper, error) { return t.to, nil }, nil
}

// startInside starts an exporter that writes to a server without a network.
func startInside(t testing.TB, server *promserver.Server, configs ...string) *rig.Exporter {
	id := component.MustNewID("inside")
	return rig.StartWith(t, map[component.ID]component.Component{id: &transport{to: server}}, server.Endpoint(),
		append([]string{"http: {middlewares: [{id: inside}]}"}, configs...)...)
}

// timesFromNow are where hostile points are put in time, besides their own times.
var timesFromNow = []time.Duration{
	0, -time.Millisecond, time.Millisecond, -time.Second, time.Second, 9 * time.Minute, 10*time.Minute - time.Millisecond, 10*time.Minute + time.Second,
	11 * time.Minute, time.Hour, -9 * time.Minute, -44 * time.Minute, -45*time.Minute - time.Millisecond, -55 * time.Minute, -time.Hour + time.Millisecond, -time.Hour - time.Second, -61 * time.Minute,
	-2 * time.Hour, -3 * time.Hour, 365 * 24 * time.Hour, -365 * 24 * time.Hour,
}

// retime gives the points of a payload times near now, as bytes say; a point keeps its own time when they have ended.
func retime(md pmetric.Metrics, now time.Time, times *[]byte) {
	rwtest.EachPoint(md, func(_ pmetric.Metric, dp rwtest.Point) {
		if len(*times) == 0 {
			return
		}
		n := int((*times)[0])
		if *times = (*times)[1:]; n < 250 {
			dp.SetTimestamp(timestamp(now.Add(timesFromNow[n%len(timesFromNow)])))
		}
	})
}

// translationsInto has what can become of the same payloads in each version of the protocol; the first ones are the defaults.
var translationsInto = map[bool][][]string{
	false: {nil, {`resource_constant_labels: {included: ["*"]}`, "external_labels: {region: eu, a: x, job: j}"}},
	true: {
		nil,
		{"convert_explicit_histograms_to_nhcb: true", `resource_constant_labels: {included: ["*"]}`},
		{"convert_explicit_histograms_to_nhcb: true", "keep_classic_histograms: true", "translation_strategy: NoUTF8EscapingWithSuffixes"},
		{"translation_strategy: NoTranslation", "external_labels: {region: eu, a: x, job: j}"},
	},
}

// FuzzPrometheusStoresWhatIsDelivered lets one client send hostile metrics and another one good ones, in the same payloads and in
// others, mostly with the default configuration. What is called delivered is what the storage holds, and it holds all of the good
// samples.
func FuzzPrometheusStoresWhatIsDelivered(f *testing.F) {
	for n := range uint64(200) {
		data := make([]byte, 1000)
		rnd := rand.New(rand.NewPCG(n, 0))
		for i := range data {
			data[i] = byte(rnd.Uint32())
		}
		f.Add(data[:800], data[800:], n%2 == 0)
	}
	f.Fuzz(func(t *testing.T, data, times []byte, v2 bool) {
		if len(data) > 4096 {
			return // More of the same takes longer.
		}
		synctest.Test(t, func(t *testing.T) { storesWhatIsDelivered(t, data, times, v2) })
	})
}

func storesWhatIsDelivered(t *testing.T, data, times []byte, v2 bool) {
	const rounds, series = 4, 5
	// Nobody who does not know the whole input has series of this name.
	hash := fnv.New64a()
	_, _ = hash.Write(data)
	good := fmt.Sprintf("good_%x", hash.Sum64())
	v := versions["1.0"]
	if v2 {
		v = versions["2.0"]
	}
	server := promserver.Start(t, promserver.WithoutNetwork())
	ways := translationsInto[v2]
	exporter := startInside(t, server, append([]string{v.config}, ways[max(0, int(hash.Sum64()%uint64(2*len(ways)))-len(ways))]...)...)
	// While a storage has never had a sample, two requests at the same time can both be its first one: then it may take an old sample
	// of one of them, and not show it.
	exporter.SendAndSettle(rig.NewPayload().Gauge("first", time.Now(), 1).Metrics)
	for round := range rounds {
		now := time.Now()
		// Each half comes twice, so that the same series have other times.
		half := round / 2
		md := rwtest.FromBytes(data[len(data)*half/2 : len(data)*(half+1)/2])
		retime(md, now, &times)
		points := rig.NewPayload()
		for i := range series {
			points.Gauge(good, now, float64(round), "series", fmt.Sprint(i))
		}
		if round%2 == 0 {
			points.Metrics.ResourceMetrics().MoveAndAppendTo(md.ResourceMetrics())
		} else {
			exporter.Send(points.Metrics)
		}
		exporter.Send(md)
		time.Sleep(time.Duration(1+round*20) * time.Millisecond)
	}
	accounts := exporter.Close()
	assert.Zero(t, server.InvalidLabels(), "samples that the receiver skipped for their labels")
	lost := 0
	for _, m := range server.Missing() {
		// A series may be a histogram at one time and a float at another. If it ends as a float and goes on in the same request,
		// Prometheus takes the stale marker for that of the histogram, and loses it.
		lost++
		assert.True(t, m.Stale, "%v was confirmed, and is not stored", m)
	}
	assert.Equal(t, int(accounts.Delivered), server.Stored()+lost, "delivered samples are those that the storage holds; dropped: %v", accounts.Dropped)
	stored := 0
	for _, s := range server.Series(good) {
		stored += len(s.Samples)
	}
	if !assert.Equal(t, rounds*series, stored, "good samples") {
		for _, r := range server.Answered(http.StatusBadRequest) {
			t.Logf("%s", strings.TrimSpace(r.Answer))
		}
	}
}
