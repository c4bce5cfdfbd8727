// SPDX-License-Identifier: Apache-2.0

package generate

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
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

// newSender makes a connection for a protocol, "grpc" or "http". An endpoint that begins with https:// is spoken to with TLS.
func newSender(protocol, endpoint string, headers map[string]string) (sender, error) {
	switch protocol {
	case "grpc":
		return newGRPC(endpoint, headers)
	case "http":
		return newHTTP(endpoint, headers), nil
	}
	return nil, fmt.Errorf("protocol: must be grpc or http, not %q", protocol)
}

// exportMethod is the one of OTLP over gRPC.
const exportMethod = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"

type grpcSender struct {
	conn    *grpc.ClientConn
	headers metadata.MD
}

func newGRPC(endpoint string, headers map[string]string) (sender, error) {
	host, secure := strings.CutPrefix(endpoint, "https://")
	host = strings.TrimPrefix(host, "http://")
	transport := insecure.NewCredentials()
	if secure {
		transport = credentials.NewTLS(&tls.Config{})
	}
	conn, err := grpc.NewClient(host, grpc.WithTransportCredentials(transport),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(rawCodec{}), grpc.WaitForReady(true)))
	if err != nil {
		return nil, fmt.Errorf("endpoint: %w", err)
	}
	return &grpcSender{conn, metadata.New(headers)}, nil
}

func (s *grpcSender) close() error { return s.conn.Close() }

func (s *grpcSender) export(ctx context.Context, body []byte) (int, error) {
	var answer []byte
	if err := s.conn.Invoke(metadata.NewOutgoingContext(ctx, s.headers), exportMethod, body, &answer); err != nil {
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
}

func newHTTP(endpoint string, headers map[string]string) sender {
	if !strings.Contains(endpoint, "://") {
		endpoint = "http://" + endpoint
	}
	if !strings.HasSuffix(endpoint, "/v1/metrics") {
		endpoint = strings.TrimSuffix(endpoint, "/") + "/v1/metrics"
	}
	return &httpSender{&http.Client{Transport: &http.Transport{DisableCompression: true}}, endpoint, headers}
}

func (s *httpSender) close() error {
	s.client.CloseIdleConnections()
	return nil
}

func (s *httpSender) export(ctx context.Context, body []byte) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(body))
	if err != nil {
		return 0, fmt.Errorf("endpoint: %w", err)
	}
	for name, value := range s.headers {
		req.Header.Set(name, value)
	}
	req.Header.Set("Content-Type", "application/x-protobuf")
	resp, err := s.client.Do(req)
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
		if seconds, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil {
			r.after = time.Duration(seconds) * time.Second
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
