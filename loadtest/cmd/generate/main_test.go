// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/orderedremotewrite/orderedremotewriteexporter/loadtest/internal/generate"
	"github.com/orderedremotewrite/orderedremotewriteexporter/loadtest/internal/schedule"
)

func options(t *testing.T, args string) (o generate.Options) {
	t.Helper()
	set := flag.NewFlagSet("", flag.ContinueOnError)
	o.Register(set)
	require.NoError(t, set.Parse(strings.Fields(args)))
	return o
}

// collector takes everything, and calls each with the number of each request.
func collector(t *testing.T, each func(n int)) string {
	var mu sync.Mutex
	n := 0
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		mu.Lock()
		defer mu.Unlock()
		n++
		each(n)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// receiver remembers the steps that it is told of.
func receiver(t *testing.T, told *[]int) string {
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var schedules []schedule.Schedule
		assert.NoError(t, json.NewDecoder(r.Body).Decode(&schedules))
		assert.Equal(t, "/schedule", r.URL.Path)
		*told = append(*told, schedules[0].Steps)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// A receiver knows what is missing only when all has been sent, also if it is known before how much that will be.
func TestStepsAreToldAtTheEnd(t *testing.T) {
	var told []int
	address := receiver(t, &told)
	for _, announce := range []string{address, address + "/", strings.TrimPrefix(address, "http://")} {
		told = nil
		o := options(t, "-protocol http -endpoint "+collector(t, func(int) {})+" -series 10 -samples 50")
		require.NoError(t, run(io.Discard, o, announce, nil))
		assert.Equal(t, []int{0, 5}, told, announce)
	}
}

// However it ends, the line that says what was sent is printed.
func TestWhatWasSentIsPrinted(t *testing.T) {
	print := func(t *testing.T, each func(n int), announce string, interrupts <-chan os.Signal) (result, error) {
		t.Helper()
		o := options(t, "-protocol http -connections 1 -endpoint "+collector(t, each)+" -series 10 -samples 50")
		var out bytes.Buffer
		err := run(&out, o, announce, interrupts)
		var r result
		require.NoError(t, json.Unmarshal(out.Bytes(), &r), out.String())
		return r, err
	}
	t.Run("the end", func(t *testing.T) {
		r, err := print(t, func(int) {}, "", nil)
		require.NoError(t, err)
		assert.Equal(t, []int{50, 5}, []int{r.Accepted, r.Schedules[0].Steps})
	})
	t.Run("an interrupt", func(t *testing.T) {
		interrupts := make(chan os.Signal, 2)
		var told []int
		r, err := print(t, func(n int) {
			if n == 2 {
				interrupts <- os.Interrupt
			}
		}, receiver(t, &told), interrupts)
		require.NoError(t, err)
		steps := r.Schedules[0].Steps
		assert.Equal(t, 10*steps, r.Accepted)
		assert.Equal(t, []int{0, steps}, told)
	})
	t.Run("two interrupts", func(t *testing.T) {
		interrupts := make(chan os.Signal, 2)
		ended := make(chan struct{})
		var told []int
		r, err := print(t, func(n int) {
			if n == 2 {
				interrupts <- os.Interrupt
				interrupts <- os.Interrupt
				<-ended
			}
		}, receiver(t, &told), interrupts)
		close(ended)
		require.ErrorContains(t, err, "canceled")
		assert.Equal(t, 10, r.Accepted)
		assert.Equal(t, []int{0}, told, "it would miss what was not sent")
	})
	t.Run("a receiver that is gone", func(t *testing.T) {
		gone := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		r, err := print(t, func(n int) {
			if n == 5 {
				gone.Close()
			}
		}, gone.URL, nil)
		require.ErrorContains(t, err, "announce")
		assert.Equal(t, 50, r.Accepted)
	})
}
