// SPDX-License-Identifier: Apache-2.0

package generate

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	grpcgzip "google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
)

// sender is one connection to a collector.
type sender interface {
	// export sends a request and returns how many points of it were rejected. It is done with the body when it returns.
	export(ctx context.Context, body []byte) (rejected int, err error)
	close() error
}

// refusal is an answer that is no success.
type refusal struct {
	err       error
	retryable bool
	after     time.Duration // that the collector asks for
}

func (r *refusal) Error() string { return r.err.Error() }
func (r *refusal) Unwrap() error { return r.err }

// newSender makes a connection as the options say. An endpoint that begins with https:// is spoken to with TLS.
func newSender(o Options) (sender, error) {
	if o.Compression != "" && o.Compression != "none" && o.Compression != "gzip" {
		return nil, fmt.Errorf("compression: must be none or gzip, not %q", o.Compression)
	}
	scheme, rest, ok := strings.Cut(o.Endpoint, "://")
	if !ok {
		rest = o.Endpoint
	}
	if ok && scheme != "http" && scheme != "https" || strings.Trim(rest, "/") == "" {
		return nil, fmt.Errorf("endpoint: must be host:port, http://host:port or https://host:port, not %q", o.Endpoint)
	}
	trusted, err := o.trusted()
	if err != nil {
		return nil, err
	}
	switch o.Protocol {
	case "grpc":
		return newGRPC(o, trusted)
	case "http":
		return newHTTP(o, trusted)
	}
	return nil, fmt.Errorf("protocol: must be grpc or http, not %q", o.Protocol)
}

// trusted are the authorities of CAFile, or nil for those of the system.
func (o *Options) trusted() (*x509.CertPool, error) {
	if o.CAFile == "" {
		return nil, nil
	}
	text, err := os.ReadFile(o.CAFile)
	if err != nil {
		return nil, fmt.Errorf("ca-file: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("ca-file: there is no certificate in %s", o.CAFile)
	}
	return pool, nil
}

// exportMethod is the one of OTLP over gRPC.
const exportMethod = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"

type grpcSender struct {
	conn    *grpc.ClientConn
	headers metadata.MD
}

func newGRPC(o Options, trusted *x509.CertPool) (sender, error) {
	host, secure := strings.CutPrefix(o.Endpoint, "https://")
	host = strings.TrimPrefix(host, "http://")
	transport := insecure.NewCredentials()
	if secure {
		transport = credentials.NewTLS(&tls.Config{RootCAs: trusted})
	}
	call := []grpc.CallOption{grpc.ForceCodecV2(rawCodec{})}
	if o.Compression == "gzip" {
		call = append(call, grpc.UseCompressor(grpcgzip.Name))
	}
	conn, err := grpc.NewClient(host, grpc.WithTransportCredentials(transport), grpc.WithDefaultCallOptions(call...),
		// By default it would look up to two minutes later whether a collector has come back.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: firstBackOff, Multiplier: 2, Jitter: 0.2, MaxDelay: maxBackOff},
			MinConnectTimeout: 10 * time.Second,
		}))
	if err != nil {
		return nil, fmt.Errorf("endpoint: %w", err)
	}
	return &grpcSender{conn, metadata.New(o.Headers)}, nil
}

func (s *grpcSender) close() error { return s.conn.Close() }

func (s *grpcSender) export(ctx context.Context, body []byte) (int, error) {
	var answer []byte
	if err := s.conn.Invoke(metadata.NewOutgoingContext(ctx, s.headers), exportMethod, body, &answer); err != nil {
		if strings.Contains(err.Error(), "authentication handshake failed") {
			return 0, err // no other attempt would do better
		}
		return 0, refusedByGRPC(err)
	}
	return rejectedPoints(answer)
}

// refusedByGRPC judges an error as the OTLP specification does ("OTLP/gRPC Response").
func refusedByGRPC(err error) error {
	s := status.Convert(err)
	r := &refusal{err: err}
	for _, detail := range s.Details() {
		if retry, ok := detail.(*errdetails.RetryInfo); ok {
			r.after, r.retryable = retry.GetRetryDelay().AsDuration(), true
		}
	}
	switch s.Code() {
	case codes.Canceled, codes.DeadlineExceeded, codes.Aborted, codes.OutOfRange, codes.Unavailable, codes.DataLoss:
		r.retryable = true
	}
	return r
}

// rawCodec takes messages that are marshalled already.
type rawCodec struct{}

// Name is that of the codec whose messages these are.
func (rawCodec) Name() string { return "proto" }

// Marshal takes a message of type []byte.
func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.([]byte))}, nil
}

// Unmarshal takes a *[]byte for the message.
func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}

type httpSender struct {
	client  *http.Client
	url     string
	headers map[string]string
	gzip    *gzip.Writer // nil if requests are not compressed
	packed  bytes.Buffer
}

func newHTTP(o Options, trusted *x509.CertPool) (sender, error) {
	endpoint := o.Endpoint
	if !strings.Contains(endpoint, "://") {
		endpoint = "http://" + endpoint
	}
	if !strings.HasSuffix(endpoint, "/v1/metrics") {
		endpoint = strings.TrimSuffix(endpoint, "/") + "/v1/metrics"
	}
	if _, err := url.Parse(endpoint); err != nil {
		return nil, fmt.Errorf("endpoint: %w", err)
	}
	s := &httpSender{url: endpoint, headers: o.Headers}
	s.client = &http.Client{Transport: &http.Transport{DisableCompression: true, TLSClientConfig: &tls.Config{RootCAs: trusted}}}
	if o.Compression == "gzip" {
		s.gzip = gzip.NewWriter(&s.packed)
	}
	return s, nil
}

// compress returns the body as it is sent.
func (s *httpSender) compress(body []byte) ([]byte, error) {
	if s.gzip == nil {
		return body, nil
	}
	s.packed.Reset()
	s.gzip.Reset(&s.packed)
	if _, err := s.gzip.Write(body); err != nil {
		return nil, err
	}
	err := s.gzip.Close()
	return s.packed.Bytes(), err
}

func (s *httpSender) close() error {
	s.client.CloseIdleConnections()
	return nil
}

func (s *httpSender) export(ctx context.Context, body []byte) (int, error) {
	body, err := s.compress(body)
	if err != nil {
		return 0, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(body))
	if err != nil {
		return 0, fmt.Errorf("endpoint: %w", err)
	}
	for name, value := range s.headers {
		req.Header.Set(name, value)
	}
	req.Header.Set("Content-Type", "application/x-protobuf")
	if s.gzip != nil {
		req.Header.Set("Content-Encoding", "gzip")
	}
	resp, err := s.client.Do(req)
	if untrusted := (*tls.CertificateVerificationError)(nil); errors.As(err, &untrusted) {
		return 0, err // no other attempt would do better
	}
	if err != nil {
		return 0, &refusal{err: err, retryable: true}
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return 0, &refusal{err: err, retryable: true}
	}
	if resp.StatusCode/100 == 2 {
		return rejectedPoints(answer)
	}
	r := &refusal{err: fmt.Errorf("%s: %q", resp.Status, answer)}
	switch resp.StatusCode { // "OTLP/HTTP Response", "Failures"
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		r.retryable = true
		after := resp.Header.Get("Retry-After")
		if seconds, err := strconv.ParseUint(after, 10, 31); err == nil {
			r.after = time.Duration(seconds) * time.Second
		} else if at, err := http.ParseTime(after); err == nil {
			r.after = time.Until(at)
		}
	}
	return 0, r
}

// rejectedPoints is partial_success.rejected_data_points of an ExportMetricsServiceResponse.
func rejectedPoints(answer []byte) (int, error) {
	partial := field(answer, 1)
	n, size := protowire.ConsumeVarint(field(partial, 1))
	if size < 0 {
		return 0, nil
	}
	if n > 1<<31 {
		return 0, errors.New("the collector says that it rejected more points than there were")
	}
	return int(n), nil
}

// field returns the content of a message's first field of a number, or nil if it has none.
func field(message []byte, number protowire.Number) []byte {
	for len(message) > 0 {
		found, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return nil
		}
		value := message[n:]
		size := protowire.ConsumeFieldValue(found, kind, value)
		if size < 0 {
			return nil
		}
		if found == number {
			if kind == protowire.BytesType {
				value, _ := protowire.ConsumeBytes(value)
				return value
			}
			return value[:size]
		}
		message = value[size:]
	}
	return nil
}
