// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bytes"
	"net/http"
	"testing"

	"github.com/golang/snappy"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
)

// request is a message of two series with one and two samples, whose series are in the field of that number.
func request(field protowire.Number) []byte {
	var message []byte
	for samples := 1; samples <= 2; samples++ {
		series := nested(nil, 1, []byte("labels"))
		for range samples {
			series = nested(series, samplesField, []byte{0x10, 1})
		}
		message = nested(message, field, series)
	}
	return nested(message, 3, []byte("something else"))
}

func nested(b []byte, field protowire.Number, content []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, field, protowire.BytesType), content)
}

func TestSinkCounts(t *testing.T) {
	s, err := newSink()
	require.NoError(t, err)
	defer func() { assert.NoError(t, s.close()) }()

	for _, tc := range []struct {
		contentType, written string
		field                protowire.Number
	}{
		{"application/x-protobuf", "", 1},
		{"application/x-protobuf;proto=io.prometheus.write.v2.Request", "3", 5},
	} {
		s.reset()
		resp, err := http.Post(s.url, tc.contentType, bytes.NewReader(snappy.Encode(nil, request(tc.field))))
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		assert.Equal(t, http.StatusNoContent, resp.StatusCode)
		assert.Equal(t, tc.written, resp.Header.Get("X-Prometheus-Remote-Write-Samples-Written"))
		samples, requests, err := s.counted()
		require.NoError(t, err)
		assert.Equal(t, 3, samples)
		assert.Equal(t, 1, requests)
	}
}

func TestSinkTellsOfWhatItCannotRead(t *testing.T) {
	s, err := newSink()
	require.NoError(t, err)
	defer func() { assert.NoError(t, s.close()) }()
	resp, err := http.Post(s.url, "application/x-protobuf", bytes.NewReader(snappy.Encode(nil, []byte{0x0a, 0xff})))
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	_, _, err = s.counted()
	require.Error(t, err)
}
