// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/configmiddleware"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/remote"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/rwtest"
)

// hold is what a fake waits for, whatever its context: until the test lets go, at its end at the latest.
type hold struct {
	ended chan struct{}
	once  sync.Once
}

func newHold(t *testing.T) *hold {
	h := &hold{ended: make(chan struct{})}
	t.Cleanup(h.letGo)
	return h
}

func (h *hold) wait() { <-h.ended }

func (h *hold) letGo() { h.once.Do(func() { close(h.ended) }) }

// deaf is a transport that does not look at the context of its requests, as one that fetches a token does not. It answers
// when the test lets go.
type deaf struct {
	*hold
	answer func(*http.Request) (*http.Response, error)

	requests atomic.Int64
	mu       sync.Mutex
	bodies   [][]byte
}

func newDeaf(t *testing.T, answer func(*http.Request) (*http.Response, error)) *deaf {
	return &deaf{hold: newHold(t), answer: answer}
}

// RoundTrip implements http.RoundTripper.
func (d *deaf) RoundTrip(r *http.Request) (*http.Response, error) {
	d.requests.Add(1)
	d.wait()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	d.bodies = append(d.bodies, body)
	d.mu.Unlock()
	return d.answer(r)
}

func taken(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: 204, Header: writtenHeaders("99", "99", "99"), Body: http.NoBody}, nil
}

// TestShutdownEndsWhateverTheTransportDoes has requests under way in a transport that never looks at their context. What they
// carry is counted once, at the deadline; an answer that comes later changes nothing.
func TestShutdownEndsWhateverTheTransportDoes(t *testing.T) {
	for name, answer := range map[string]func(*http.Request) (*http.Response, error){
		"taken": taken,
		"refused": func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 403, Body: http.NoBody}, nil
		},
		"failed": func(*http.Request) (*http.Response, error) { return nil, errors.New("no token") },
	} {
		for _, message := range []ProtobufMessage{MessageV1, MessageV2} {
			t.Run(name+" "+string(message), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					transport := newDeaf(t, answer)
					h := newHarness(t, transport, func(c *Config) {
						c.ProtobufMessage = message
						c.Batch.MaxSamples = 20
						c.HTTP.Timeout = time.Hour
						c.ShutdownTimeout = time.Minute
					})
					h.consume(gauge(time.Now(), 800))
					synctest.Wait()
					inFlight := h.ledger.Snapshot().InFlight
					require.Equal(t, int64(firstLimit*20), inFlight)

					ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
					defer cancel()
					start := time.Now()
					require.NoError(t, h.Shutdown(ctx))
					assertEndsBy(t, 2*time.Second, time.Since(start))
					h.shutdown() // again
					want := map[string]int64{"shutdown": 800 - inFlight, "shutdown_in_flight": inFlight}
					assert.Equal(t, want, h.dropped())
					assert.Equal(t, int64(firstLimit), h.metric("otelcol_exporter_ordered_remote_write_requests"))
					statuses := h.host.statuses()

					transport.letGo()
					time.Sleep(time.Minute)
					synctest.Wait()
					assert.Equal(t, want, h.dropped(), "after the late answers")
					assert.Zero(t, h.delivered())
					assert.Equal(t, int64(firstLimit), h.metric("otelcol_exporter_ordered_remote_write_requests"))
					assert.Equal(t, int64(firstLimit), transport.requests.Load(), "nothing follows an abandoned request")
					assert.Empty(t, h.host.statuses(), "after %v", statuses)
					for _, body := range transport.bodies {
						protocol := h.version.protocol()
						r := request{protocol: protocol, body: body}
						assert.Equal(t, 20, r.contents().len(), "an abandoned request keeps its bytes")
					}
					h.checkBalance()
				})
			})
		}
	}
}

// TestShutdownByTimeout: shutdown_timeout holds like the deadline of the context, and a context that has ended does too.
func TestShutdownByTimeout(t *testing.T) {
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	for _, tt := range []struct {
		ctx  context.Context
		want time.Duration
	}{{context.Background(), 3 * time.Second}, {ended, remote.AbandonGrace}} {
		synctest.Test(t, func(t *testing.T) {
			transport := newDeaf(t, taken)
			h := newHarness(t, transport, onePartition, func(c *Config) { c.ShutdownTimeout = 3 * time.Second })
			h.consume(gauge(time.Now(), 5))
			time.Sleep(time.Minute)
			start := time.Now()
			require.NoError(t, h.Shutdown(tt.ctx))
			assertEndsBy(t, tt.want, time.Since(start))
			assert.Equal(t, map[string]int64{"shutdown_in_flight": 5}, h.dropped())
			transport.letGo()
		})
	}
}

// TestShutdownEndsWhateverMetadataDoes: a request for metadata holds up nothing either.
func TestShutdownEndsWhateverMetadataDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		transport := newDeaf(t, taken)
		h := newHarness(t, transport, onePartition, func(c *Config) {
			c.SendMetadata = true
			c.MetadataInterval = 100 * time.Millisecond
			c.Batch.FlushTimeout = time.Minute
		})
		h.consume(everything(time.Now()))
		time.Sleep(time.Second)
		require.Equal(t, int64(1), transport.requests.Load(), "metadata only")
		start := time.Now()
		require.NoError(t, h.Shutdown(context.Background()))
		assertEndsBy(t, h.cfg.ShutdownTimeout, time.Since(start))
		transport.letGo()
	})
}

// TestTimeoutDoesNotAbandon: when http.timeout has passed and the transport has not noticed, the request may still be on its
// way. Nothing of the partition is sent before it has ended.
func TestTimeoutDoesNotAbandon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		transport := newDeaf(t, func(r *http.Request) (*http.Response, error) { return nil, r.Context().Err() })
		h := newHarness(t, transport, onePartition, func(c *Config) {
			c.HTTP.Timeout = time.Second
			c.Retry.BackOff.MaxElapsedTime = 0
		})
		for range 10 {
			h.consume(gauge(time.Now(), 5))
			time.Sleep(time.Minute)
		}
		assert.Equal(t, int64(1), transport.requests.Load())
		transport.answer = func(r *http.Request) (*http.Response, error) {
			if transport.requests.Load() == 1 {
				return nil, r.Context().Err()
			}
			return taken(r)
		}
		transport.letGo()
		time.Sleep(time.Minute)
		h.shutdown()
		assert.Equal(t, int64(50), h.delivered())
		assert.Equal(t, transport.bodies[0], transport.bodies[1], "the identical bytes")
	})
}

// TestFatalAnswerAbandonsTheOthers: a fatal answer in one partition does not wait for the transport of the others.
func TestFatalAnswerAbandonsTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		others := newDeaf(t, taken)
		var first atomic.Bool
		h := newHarness(t, roundTripper(func(r *http.Request) (*http.Response, error) {
			if first.CompareAndSwap(false, true) {
				time.Sleep(time.Second)
				return &http.Response{StatusCode: 401, Body: http.NoBody}, nil
			}
			return others.RoundTrip(r)
		}), failOnFatal)
		h.consume(gauge(time.Now(), 800))
		time.Sleep(3 * time.Second)
		b := h.ledger.Snapshot()
		assert.Zero(t, b.InFlight, "all have their outcome before the shutdown")
		d := h.dropped()
		assert.Equal(t, int64(800), d["fatal 401"]+d["shutdown_in_flight"])
		assert.Positive(t, d["fatal 401"])
		assert.Positive(t, d["shutdown_in_flight"])
		h.shutdown()
		others.letGo()
	})
}

// hangingBody never ends and does not look at any context.
type hangingBody struct{ *hold }

func (b hangingBody) Read([]byte) (int, error) {
	b.wait()
	return 0, io.EOF
}

func (b hangingBody) Close() error {
	b.wait()
	return nil
}

// TestHangingBodyHoldsUpNothing: the status decides, also if the answer's body never ends.
func TestHangingBodyHoldsUpNothing(t *testing.T) {
	for _, status := range []int{204, 400} {
		synctest.Test(t, func(t *testing.T) {
			body := hangingBody{newHold(t)}
			var requests atomic.Int64
			h := newHarness(t, roundTripper(func(*http.Request) (*http.Response, error) {
				requests.Add(1)
				return &http.Response{StatusCode: status, Body: body}, nil
			}), onePartition)
			for range 3 {
				h.consume(gauge(time.Now(), 5))
				time.Sleep(5 * time.Second)
			}
			assert.Equal(t, int64(3), requests.Load())
			h.consume(gauge(time.Now(), 5))
			time.Sleep(time.Second)
			start := time.Now()
			h.shutdown()
			assert.LessOrEqual(t, time.Since(start), 2*time.Second)
			if status == 204 {
				assert.Equal(t, int64(20), h.delivered())
			} else {
				assert.Equal(t, map[string]int64{"rejected 400": 20}, h.dropped())
			}
			body.letGo()
		})
	}
}

// TestShutdownWithATokenThatDoesNotCome has real servers: one of tokens, which hangs, and a receiver.
func TestShutdownWithATokenThatDoesNotCome(t *testing.T) {
	release := newHold(t)
	asked := make(chan struct{}, 100)
	tokens := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		asked <- struct{}{}
		release.wait()
	}))
	defer tokens.Close()
	defer release.letGo() // which Close waits for
	receiver := &rwtest.Receiver{}
	server := httptest.NewServer(receiver)
	defer server.Close()
	network := &http.Transport{}
	defer network.CloseIdleConnections()
	ended := make(chan struct{}, 100)
	h := newHarness(t, roundTripper(func(r *http.Request) (*http.Response, error) {
		defer func() { ended <- struct{}{} }()
		// This is what golang.org/x/oauth2 does: the context of the request does not reach the request for the token.
		token, err := http.NewRequest(http.MethodGet, tokens.URL, nil)
		require.NoError(t, err)
		resp, err := network.RoundTrip(token)
		if err != nil {
			return nil, err
		}
		_ = resp.Body.Close()
		r.URL.Host = strings.TrimPrefix(server.URL, "http://")
		return network.RoundTrip(r)
	}), onePartition, func(c *Config) {
		c.Batch.FlushTimeout = time.Millisecond
		c.ShutdownTimeout = 100 * time.Millisecond
	})
	h.consume(gauge(time.Now(), 5))
	<-asked
	h.shutdown()
	assert.Equal(t, map[string]int64{"shutdown_in_flight": 5}, h.dropped())
	release.letGo()
	<-ended
	assert.Empty(t, receiver.Delivered(), "an http.Transport sends nothing for a context that has ended")
	h.checkBalance()
}

// TestShutdownWithoutAStart accounts for what was accepted.
func TestShutdownWithoutAStart(t *testing.T) {
	missing := func(c *Config) { c.HTTP.Middlewares = []configmiddleware.Config{{ID: component.MustNewID("missing")}} }
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for _, tt := range []struct {
		name  string
		edit  func(*Config)
		start string // the error of Start, "" for none
	}{
		{"without a call of Start", func(*Config) {}, ""},
		{"an extension is missing", missing, "http: "},
		{"no directory for dead letters", func(c *Config) { c.DeadLetter.Directory = filepath.Join(file, "letters") }, "dead_letter.directory: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := unstarted(t, &rwtest.Receiver{}, tt.edit)
			h.consume(gauge(time.Now(), 500))
			if tt.start != "" {
				require.ErrorContains(t, h.Start(context.Background(), h.host), tt.start)
			}
			h.consume(gauge(time.Now().Add(time.Second), 500))
			h.shutdown()
			h.shutdown()
			assert.Equal(t, map[string]int64{"shutdown": 1000}, h.dropped())
			assert.Equal(t, int64(1000), h.metric("otelcol_exporter_send_failed_metric_points"))
			require.ErrorIs(t, h.ConsumeMetrics(context.Background(), gauge(time.Now(), 3)), errClosed)
			assert.Equal(t, int64(3), h.metric("otelcol_exporter_ordered_remote_write_refused_samples"))
			assert.Empty(t, h.host.statuses())
		})
	}
}

// TestPayloadAfterTheQueueIsDiscarded: a caller that got its room before the end may be slower than the shutdown. What it brings is
// told as dropped by all that tells of drops.
func TestPayloadAfterTheQueueIsDiscarded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, answers(204))
		slow := h.translators.Load().take()
		require.NoError(t, slow.translate(t.Context(), gauge(time.Now(), 10), h.version.protocol()))
		_, waits, err := h.queue.reserve(&slow.payload)
		require.NoError(t, err)
		require.Nil(t, waits)
		require.NoError(t, h.Shutdown(context.Background()))
		require.NoError(t, h.queue.append(t.Context(), &slow.payload))
		h.shutdown()
		assert.Equal(t, map[string]int64{"shutdown": 10}, h.dropped())
		logged := int64(0)
		for _, line := range h.logs.FilterMessage("Dropped samples.").All() {
			logged += line.ContextMap()["dropped_samples"].(int64)
		}
		assert.Equal(t, int64(10), logged)
	})
}

// TestConsumeBeforeStart: what was accepted early is sent after the start.
func TestConsumeBeforeStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		receiver := &rwtest.Receiver{}
		h := unstarted(t, receiver)
		h.consume(gauge(time.Now(), 500))
		require.NoError(t, h.Start(context.Background(), h.host))
		h.shutdown()
		assert.Equal(t, int64(500), h.delivered())
		assert.Empty(t, receiver.Problems())
	})
}

// TestRefusedAfterAFatalAnswer counts payloads that come when the exporter has stopped.
func TestRefusedAfterAFatalAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, answers(401), onePartition, failOnFatal)
		h.consume(gauge(time.Now(), 5))
		time.Sleep(2 * time.Second)
		for range 3 {
			require.ErrorIs(t, h.ConsumeMetrics(context.Background(), gauge(time.Now(), 7)), errStopped)
		}
		assert.Equal(t, int64(3*7), h.metric("otelcol_exporter_ordered_remote_write_refused_samples"))
		h.shutdown()
		require.ErrorIs(t, h.ConsumeMetrics(context.Background(), gauge(time.Now(), 7)), errStopped)
		assert.Equal(t, int64(4*7), h.metric("otelcol_exporter_ordered_remote_write_refused_samples"))
		assert.Equal(t, map[string]int64{"fatal 401": 5}, h.dropped())
	})
}

// incompressible is a text of n characters that are digits at random.
func incompressible(n int) string {
	rnd := rand.New(rand.NewPCG(1, 1))
	text := make([]byte, n)
	for i := range text {
		text[i] = '0' + byte(rnd.IntN(64))
	}
	return string(text)
}

// TestMadeTargetInfoIsNotReceivedIfItIsDropped: a queue without room for a target_info that the exporter has made itself loses
// nothing that was received.
func TestMadeTargetInfoIsNotReceivedIfItIsDropped(t *testing.T) {
	for _, policy := range []OnFull{OnFullDropNewest, OnFullDropOldest} {
		t.Run(string(policy), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHarness(t, answers(503), onePartition, func(c *Config) {
					c.Queue.OnFull = policy
					c.Batch.MaxSizeBytes = 16384
					c.Queue.MaxSizeBytes = 4 * 16384
				})
				// So long a value fits no queue. It is on the target_info alone, of which there is one for the one sample.
				long := incompressible(80_000)
				md := metricsOf([]any{"service.name", "shop", "service.instance.id", "a", "long", long}, gaugeOf("x", number(1)))
				retime(md, time.Now())
				h.consume(md)
				assert.Equal(t, map[string]int64{"queue_full": 1}, h.dropped())
				b := h.ledger.Snapshot()
				assert.Equal(t, int64(1), b.Received)
				h.checkBalance()
				h.shutdown()
			})
		})
	}
}
