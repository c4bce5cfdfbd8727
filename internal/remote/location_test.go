// SPDX-License-Identifier: Apache-2.0

package remote

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestLongLocationIsCut: nothing that an endpoint sends makes a line of the log as long as it likes.
func TestLongLocationIsCut(t *testing.T) {
	client := &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		header := http.Header{"Location": {"https://other.test/" + strings.Repeat("x", 1<<19)}}
		return &http.Response{StatusCode: 302, Header: header, Body: http.NoBody, Request: r}, nil
	})}
	c := NewClient(client, "http://receiver.test/write", "test", func(context.Context, Exchange) {})
	a := c.Post(t.Context(), wire.V1, nil, 1)
	assert.Less(t, len(a.Error()), 2*MaxAnswerBody)
	assert.Contains(t, a.Error(), "a redirect to https://other.test/xxx")
}
