// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"go.opentelemetry.io/collector/config/configretry"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/remote"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

// sending sends letters again.
type sending struct {
	url                       string
	headerLines               []string
	headerFile                string
	caFile, certFile, keyFile string
	maxSamples, maxBytes      int
	timeout                   time.Duration
	retries                   int
	skipRefused, remove       bool
	dryRun                    bool

	out    io.Writer
	client *remote.Client
	policy remote.Policy
	began  time.Time
	told   time.Time
	// next is what the next request carries, and bytes about how long its message will be.
	next  []sample
	bytes int
	// ended are letters of which nothing comes after that.
	ended []*letter

	total, sent, repeated, refused, requests int
	firstRefusal                             error
}

func (s *sending) flags(set *flag.FlagSet) {
	set.StringVar(&s.url, "url", "", "the Remote-Write `URL`, http:// or https://")
	set.Func("header", "a `HEADER` like 'X-Scope-OrgID: tenant'; may be repeated", func(line string) error {
		s.headerLines = append(s.headerLines, line)
		return nil
	})
	set.StringVar(&s.headerFile, "header-file", "", "a `FILE` with such headers, one a line: the place for credentials, which others see in a command")
	set.StringVar(&s.caFile, "ca-file", "", "a `FILE` with the certificates to trust, in PEM")
	set.StringVar(&s.certFile, "cert-file", "", "a `FILE` with the client's certificate, in PEM")
	set.StringVar(&s.keyFile, "key-file", "", "a `FILE` with its key, in PEM")
	set.IntVar(&s.maxSamples, "max-samples", 2000, "the most samples of a request")
	set.IntVar(&s.maxBytes, "max-bytes", 3_000_000, "the most bytes of a request before compression")
	set.DurationVar(&s.timeout, "timeout", 30*time.Second, "the longest time that a request may take")
	set.IntVar(&s.retries, "retries", 8, "how often a request is repeated after no answer, 429 or 5xx")
	set.BoolVar(&s.skipRefused, "skip-refused", false, "go on after a request that is refused, and leave its samples for another time")
	set.BoolVar(&s.remove, "remove", false, "remove each dead letter of which everything has been sent")
	set.BoolVar(&s.dryRun, "dry-run", false, "say what would be sent, and send nothing")
}

// readHeaders reads the headers of the flags. No error shows what was given: it may be a secret.
func (s *sending) readHeaders() (http.Header, error) {
	lines := s.headerLines
	if s.headerFile != "" {
		text, err := os.ReadFile(s.headerFile)
		if err != nil {
			return nil, fmt.Errorf("-header-file: %w", err)
		}
		for line := range strings.Lines(string(text)) {
			if strings.TrimSpace(line) != "" {
				lines = append(lines, line)
			}
		}
	}
	headers := http.Header{}
	for _, line := range lines {
		name, value, ok := strings.Cut(line, ":")
		if value = strings.TrimSpace(value); !ok || value == "" {
			return nil, errors.New("-header, -header-file: a header must be like 'Name: value'")
		}
		headers.Add(strings.TrimSpace(name), value)
	}
	return headers, nil
}

// run sends what the filter selects.
func (s *sending) run(ctx context.Context, out io.Writer, f *filter, letters []*letter) (err error) {
	s.out, s.began = out, time.Now()
	if err := s.connect(); err != nil {
		return err
	}
	l, err := newLine(f, letters)
	if err != nil {
		return err
	}
	s.total = l.samples
	if s.dryRun {
		fmt.Fprintf(out, "%d samples of %d dead letters would be sent to %s\n", s.total, len(l.waiting), remote.Redacted(s.url))
		return nil
	}
	err = s.sendAll(ctx, l)
	err = errors.Join(err, s.finish(letters))
	s.summarize(l)
	if err != nil && s.sent > 0 {
		return fmt.Errorf("%w\nWhat was sent is remembered: repeat the command to go on", err)
	}
	return err
}

// connect makes the client.
func (s *sending) connect() error {
	if u, err := url.Parse(s.url); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return errors.New("-url: must be the http:// or https:// URL to write to")
	}
	if s.maxSamples < 1 || s.maxBytes < 1 {
		return errors.New("-max-samples and -max-bytes: must be at least 1")
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	if s.caFile != "" {
		pem, err := os.ReadFile(s.caFile)
		if err != nil {
			return fmt.Errorf("-ca-file: %w", err)
		}
		transport.TLSClientConfig.RootCAs = x509.NewCertPool()
		if !transport.TLSClientConfig.RootCAs.AppendCertsFromPEM(pem) {
			return errors.New("-ca-file: no certificate in it")
		}
	}
	if s.certFile != "" || s.keyFile != "" {
		pair, err := tls.LoadX509KeyPair(s.certFile, s.keyFile)
		if err != nil {
			return fmt.Errorf("-cert-file, -key-file: %w", err)
		}
		transport.TLSClientConfig.Certificates = []tls.Certificate{pair}
	}
	headers, err := s.readHeaders()
	if err != nil {
		return err
	}
	client := &http.Client{Transport: withHeaders{transport, headers}, Timeout: s.timeout}
	s.client = remote.NewClient(client, s.url, "deadletters/1.0", func(context.Context, remote.Exchange) {})
	s.policy = remote.Policy{
		BackOff: configretry.BackOffConfig{
			Enabled: true, InitialInterval: 500 * time.Millisecond, RandomizationFactor: 0.2, Multiplier: 2, MaxInterval: 30 * time.Second,
		},
		MaxRetries:    s.retries,
		MaxRetryAfter: 5 * time.Minute,
		RetryOn429:    true,
		Exhausted:     remote.VerdictDrop,
		Fatal:         remote.VerdictDrop,
	}
	if s.retries == 0 {
		s.policy.BackOff.Enabled = false
	}
	return nil
}

// withHeaders adds headers to requests.
type withHeaders struct {
	*http.Transport
	headers http.Header
}

// RoundTrip implements http.RoundTripper.
func (w withHeaders) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	for name, values := range w.headers {
		r.Header[name] = values
	}
	if host := w.headers.Get("Host"); host != "" {
		r.Host = host
	}
	return w.Transport.RoundTrip(r)
}

// sendAll sends everything in line, one request after the other.
func (s *sending) sendAll(ctx context.Context, l *line) error {
	for {
		one, repeats, err := l.next()
		if err != nil {
			return err
		}
		if one == nil {
			return s.flush(ctx)
		}
		if repeats {
			s.repeated++
			if err := one.letter.journal.add(one.letter.Name, []int{one.index}); err != nil {
				return err
			}
			s.ended = append(s.ended, l.takeEnded()...)
			continue
		}
		if n := len(s.next); n > 0 && (n == s.maxSamples || s.bytes+one.bytes > s.maxBytes || s.next[0].letter.protocol != one.letter.protocol) {
			if err := s.flush(ctx); err != nil {
				return err
			}
		}
		s.next = append(s.next, *one)
		s.bytes += one.bytes
		s.ended = append(s.ended, l.takeEnded()...)
	}
}

func (s *sending) flush(ctx context.Context) error {
	if len(s.next) == 0 {
		return nil
	}
	err := s.send(ctx, s.next)
	s.next, s.bytes = nil, 0
	for _, l := range s.ended {
		l.close()
	}
	s.ended = nil
	return err
}

// send sends samples until they have their outcome.
func (s *sending) send(ctx context.Context, samples []sample) error {
	body, err := compose(samples)
	if err != nil {
		return err
	}
	protocol, begun := samples[0].letter.protocol, time.Now()
	for attempt := 1; ; attempt++ {
		if ctx.Err() != nil {
			return errors.New("interrupted")
		}
		a := s.client.Post(ctx, protocol, body, attempt)
		s.requests++
		decision := s.policy.Decide(a, remote.Attempt{
			Number: attempt, Elapsed: time.Since(begun), Random: rand.Float64(), Now: time.Now(), Protocol: protocol,
		})
		switch {
		case ctx.Err() != nil && a.Status == 0:
			return errors.New("interrupted")
		case decision.Verdict == remote.VerdictDelivered:
			return s.delivered(a, samples)
		case decision.Verdict == remote.VerdictSplit && len(samples) > 1:
			half := len(samples) / 2
			if err := s.send(ctx, samples[:half]); err != nil {
				return err
			}
			return s.send(ctx, samples[half:])
		case decision.Verdict == remote.VerdictRetry:
			s.say(fmt.Sprintf("%v; the same request follows in %s", a, decision.Delay.Round(time.Millisecond)))
			select {
			case <-ctx.Done():
			case <-time.After(decision.Delay):
			}
		default:
			return s.failed(a, decision, samples)
		}
	}
}

// delivered remembers what was sent.
func (s *sending) delivered(a *remote.Answer, samples []sample) error {
	counts := account.Counts{Samples: len(samples)}
	for _, one := range samples {
		if one.value.Histogram {
			counts.Histograms++
		}
	}
	protocol := samples[0].letter.protocol
	if n := a.Confirmed(protocol, counts); n < len(samples) && !s.skipRefused {
		return fmt.Errorf("the receiver says that it has written %d of %d samples; -skip-refused goes on", n, len(samples))
	} else if n < len(samples) {
		// Nobody knows which ones: all of them are left for another time.
		s.sent += n
		s.refused += len(samples) - n
		if s.firstRefusal == nil {
			s.firstRefusal = fmt.Errorf("the receiver has written %d of %d samples", n, len(samples))
		}
		return nil
	}
	numbers := map[*letter][]int{}
	for _, one := range samples {
		numbers[one.letter] = append(numbers[one.letter], one.index)
	}
	for l, n := range numbers {
		if err := l.journal.add(l.Name, n); err != nil {
			return fmt.Errorf("cannot remember what was sent: %w", err)
		}
	}
	s.sent += len(samples)
	if time.Since(s.told) >= time.Second {
		s.told = time.Now()
		s.say(fmt.Sprintf("%d of %d samples (%d %%), the newest of %s", s.sent, s.total, 100*s.sent/s.total, moment(samples[len(samples)-1])))
	}
	return nil
}

// failed stops, or leaves out samples that are refused.
func (s *sending) failed(a *remote.Answer, decision remote.Decision, samples []sample) error {
	first := samples[0]
	err := fmt.Errorf("%w\nThe request had %d samples, the first is %s of %s, from %s", a, len(samples), wire.SeriesText(first.labels), moment(first), first.letter.path())
	switch {
	case protocolOf(a, first.letter.protocol):
		return fmt.Errorf("%w\nThe endpoint does not read Remote-Write 2.0, which these samples are kept in", err)
	case decision.Reason != account.ReasonRejected && decision.Reason != account.ReasonTooLarge:
		return err
	case s.skipRefused:
		s.refused += len(samples)
		if s.firstRefusal == nil {
			s.firstRefusal = a
		}
		return nil
	case a.Status == http.StatusBadRequest:
		return fmt.Errorf("%w\nIf newer samples of these series have been written, the receiver must accept samples out of order (Prometheus: storage.tsdb.out_of_order_time_window); -skip-refused goes on with the others", err)
	default:
		return fmt.Errorf("%w\n-skip-refused goes on with the others", err)
	}
}

// protocolOf says whether the answer is that of an endpoint that does not read the version.
func protocolOf(a *remote.Answer, p wire.Protocol) bool { return p == wire.V2 && a.Unread() }

func (s *sending) say(text string) { fmt.Fprintln(s.out, text) }

// finish removes what has been sent, if so asked, and closes the journals.
func (s *sending) finish(letters []*letter) (err error) {
	journals := map[*journal]bool{}
	for _, l := range letters {
		journals[l.journal] = true
		if !s.remove {
			continue
		}
		done, failed := l.done()
		if err = errors.Join(err, failed); done {
			err = errors.Join(err, l.Remove())
		}
	}
	for j := range journals {
		err = errors.Join(err, j.close())
	}
	return err
}

// done says whether all samples of the letter have been sent.
func (l *letter) done() (bool, error) {
	n := l.Samples
	if l.BodyFile == "" { // without a .json
		samples, err := l.open(&filter{})
		l.close()
		if err != nil {
			return false, err
		}
		n = len(samples)
	}
	return l.journal.count(l.Name) == n, nil
}

func (s *sending) summarize(l *line) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%d of %d samples sent in %d requests, %s", s.sent, s.total, s.requests, time.Since(s.began).Round(time.Millisecond))
	for _, more := range []struct {
		n    int
		text string
	}{
		{s.repeated, "samples of the same series and time left out"},
		{s.refused, "refused"},
		{l.gone, "dead letters were gone"},
	} {
		if more.n > 0 {
			fmt.Fprintf(&b, "; %d %s", more.n, more.text)
		}
	}
	if s.firstRefusal != nil {
		fmt.Fprintf(&b, " (first: %v)", s.firstRefusal)
	}
	s.say(b.String())
}
