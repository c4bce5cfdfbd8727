// SPDX-License-Identifier: Apache-2.0

package deadletter // import "github.com/orderedremotewrite/orderedremotewriteexporter/internal/deadletter"

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

const exporterID = "ordered_remote_write/a"

var dropped = time.Date(2026, 1, 2, 3, 4, 5, 678_000_000, time.FixedZone("", 3600))

// open returns a store that is closed, with all records written, at the end of the test. An error that was not asked for
// fails the test.
func open(t *testing.T, o Options) *Store {
	t.Helper()
	if o.Exporter == "" {
		o.Exporter = exporterID
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = 1 << 20
	}
	if o.OnError == nil {
		o.OnError = func(err error) { t.Error(err) }
	}
	s, err := Open(o)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, s.Close(context.Background())) })
	return s
}

func put(t *testing.T, s *Store, r Record) (path string) {
	t.Helper()
	path, err := s.Put(r)
	require.NoError(t, err)
	return path
}

// flush waits until nothing is pending.
func flush(t *testing.T, s *Store) {
	t.Helper()
	require.Eventually(t, func() bool { return s.Stats().Pending == 0 }, 10*time.Second, time.Millisecond)
}

func infoOf(path string) string { return strings.TrimSuffix(path, bodySuffix) + infoSuffix }

// names returns the names of all files below the directory.
func names(t *testing.T, dir string) []string {
	t.Helper()
	var found []string
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			found = append(found, d.Name())
		}
		return err
	}))
	return found
}

func TestRecordIsKeptAsItWasSent(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "directory")
	s := open(t, Options{Directory: dir})
	body := []byte{0, 1, 2, 255, '\n', '\r'}
	path := put(t, s, Record{
		Time:            dropped,
		Reason:          "rejected",
		Status:          400,
		AnswerBody:      "<b>out of order sample</b>",
		Samples:         2,
		Attempts:        1,
		Endpoint:        "https://example.com/api/v1/write",
		ProtobufMessage: "prometheus.WriteRequest",
		Headers:         map[string]string{"Content-Encoding": "snappy"},
		Body:            body,
	})
	body[0] = 42 // The caller may reuse the body at once.
	require.Equal(t, filepath.Join(dir, "ordered_remote_write%2Fa", "20260102T020405.678Z-0000000001-rejected.snappy"), path)
	flush(t, s)

	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, []byte{0, 1, 2, 255, '\n', '\r'}, got)
	info, err := os.ReadFile(infoOf(path))
	require.NoError(t, err)
	require.Equal(t, `{
  "exporter": "ordered_remote_write/a",
  "time": "2026-01-02T02:04:05.678Z",
  "reason": "rejected",
  "status": 400,
  "answer_body": "<b>out of order sample</b>",
  "samples": 2,
  "attempts": 1,
  "endpoint": "https://example.com/api/v1/write",
  "protobuf_message": "prometheus.WriteRequest",
  "headers": {
    "Content-Encoding": "snappy"
  },
  "body_file": "20260102T020405.678Z-0000000001-rejected.snappy",
  "body_bytes": 6
}
`, string(info))
	require.Equal(t, Stats{Written: 1, Records: 1, Bytes: 2 * blockSize}, s.Stats())
}

func TestFilesAreTheOwnersAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "directory")
	s := open(t, Options{Directory: dir})
	path := put(t, s, Record{})
	flush(t, s)
	for file, want := range map[string]fs.FileMode{
		dir:                fs.ModeDir | 0o700,
		filepath.Dir(path): fs.ModeDir | 0o700,
		path:               0o600,
		infoOf(path):       0o600,
	} {
		info, err := os.Stat(file)
		require.NoError(t, err)
		require.Equal(t, want, info.Mode(), file)
	}
}

func TestOnlyTheProtocolsHeadersAreKept(t *testing.T) {
	s := open(t, Options{Directory: t.TempDir()})
	path := put(t, s, Record{Headers: map[string]string{
		"content-type":                      "application/x-protobuf",
		"Content-Encoding":                  "snappy",
		"User-Agent":                        "agent",
		"x-prometheus-remote-write-version": "0.1.0",
		"Authorization":                     "Bearer SECRET",
		"authorization":                     "Basic SECRET",
		"Proxy-Authorization":               "SECRET",
		"Cookie":                            "SECRET",
		"X-Api-Key":                         "SECRET",
		"X-Amz-Security-Token":              "SECRET",
		"X-Scope-OrgID":                     "SECRET",
	}})
	flush(t, s)
	info, err := os.ReadFile(infoOf(path))
	require.NoError(t, err)
	require.NotContains(t, string(info), "SECRET")
	var d document
	require.NoError(t, json.Unmarshal(info, &d))
	require.Equal(t, map[string]string{
		"Content-Type":                      "application/x-protobuf",
		"Content-Encoding":                  "snappy",
		"User-Agent":                        "agent",
		"X-Prometheus-Remote-Write-Version": "0.1.0",
	}, d.Headers)
}

func TestKeptRequestCanBeSentAgain(t *testing.T) {
	headers := map[string]string{
		"Content-Type":                      "application/x-protobuf",
		"Content-Encoding":                  "snappy",
		"X-Prometheus-Remote-Write-Version": "0.1.0",
	}
	var received []byte
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		for name, value := range headers {
			assert.Equal(t, value, r.Header.Get(name))
		}
		received, _ = io.ReadAll(r.Body)
	}))
	defer server.Close()

	s := open(t, Options{Directory: t.TempDir()})
	body := bytes.Repeat([]byte("request"), 10_000)
	path := put(t, s, Record{Endpoint: server.URL, Headers: headers, Body: body})
	flush(t, s)

	info, err := os.ReadFile(infoOf(path))
	require.NoError(t, err)
	var d document
	require.NoError(t, json.Unmarshal(info, &d))
	file, err := os.Open(filepath.Join(filepath.Dir(path), d.BodyFile))
	require.NoError(t, err)
	defer file.Close()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, d.Endpoint, file)
	require.NoError(t, err)
	for name, value := range d.Headers {
		request.Header.Set(name, value)
	}
	client := server.Client()
	defer client.CloseIdleConnections()
	response, err := client.Do(request)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, body, received)
}

func TestRecordsOfNoTimeAreOfNow(t *testing.T) {
	s := open(t, Options{Directory: t.TempDir()})
	path := put(t, s, Record{})
	at, err := time.Parse("20060102T150405.000Z", strings.SplitN(filepath.Base(path), "-", 2)[0])
	require.NoError(t, err)
	require.WithinDuration(t, time.Now(), at, time.Minute)
}

func TestOldestRecordsAreRemovedFirst(t *testing.T) {
	dir := t.TempDir()
	// A record takes a block for its information, and here two for its body.
	s := open(t, Options{Directory: dir, MaxBytes: 3*3*blockSize + blockSize})
	var paths []string
	for range 5 {
		// A clock that goes back must not make a newer record the oldest.
		at := dropped.Add(-time.Duration(len(paths)) * time.Hour)
		paths = append(paths, put(t, s, Record{Time: at, Body: make([]byte, blockSize+1)}))
		flush(t, s)
		require.LessOrEqual(t, s.Stats().Bytes, s.options.MaxBytes)
	}
	require.Equal(t, Stats{Written: 5, Removed: 2, Records: 3, Bytes: 9 * blockSize}, s.Stats())
	for i, path := range paths {
		if i < 2 {
			require.NoFileExists(t, path)
			require.NoFileExists(t, infoOf(path))
			continue
		}
		require.FileExists(t, path)
		require.FileExists(t, infoOf(path))
	}

	put(t, s, Record{Body: make([]byte, 8*blockSize)})
	flush(t, s)
	require.Equal(t, Stats{Written: 6, Removed: 5, Records: 1, Bytes: 9 * blockSize}, s.Stats(), "a large record must displace several")
}

// TestRecordsThatSomebodyTookAreNotRemoved: what the command deadletters has sent and removed had not to make room.
func TestRecordsThatSomebodyTookAreNotRemoved(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{Directory: dir, MaxBytes: 6 * blockSize})
	for range 3 {
		put(t, s, Record{Time: dropped, Reason: "rejected", Body: []byte("body")})
	}
	flush(t, s)
	kept, err := List(dir)
	require.NoError(t, err)
	for _, k := range kept[:2] {
		require.NoError(t, k.Remove())
	}
	for range 3 {
		put(t, s, Record{Time: dropped, Reason: "rejected", Body: []byte("body")})
	}
	flush(t, s)
	require.Equal(t, Stats{Written: 6, Removed: 1, Records: 3, Bytes: 6 * blockSize}, s.Stats())
}

func TestRecordLargerThanTheBoundIsAnError(t *testing.T) {
	s := open(t, Options{Directory: t.TempDir(), MaxBytes: 4 * blockSize})
	path := put(t, s, Record{Body: make([]byte, 3*blockSize)})
	_, err := s.Put(Record{Body: make([]byte, 3*blockSize+1)})
	require.ErrorIs(t, err, ErrTooLarge)
	flush(t, s)
	require.FileExists(t, path, "what cannot be kept must not displace what can")
	require.Equal(t, Stats{Written: 1, Skipped: 1, Records: 1, Bytes: 4 * blockSize}, s.Stats())
}

func TestRecordThatHasNoJSONIsAnError(t *testing.T) {
	s := open(t, Options{Directory: t.TempDir()})
	_, err := s.Put(Record{Time: time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)})
	require.ErrorContains(t, err, "dead letter: ")
	require.Equal(t, Stats{Skipped: 1}, s.Stats())
}

func TestRestartGoesOnWithWhatIsThere(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{Directory: dir})
	var paths []string
	for range 4 {
		paths = append(paths, put(t, s, Record{Time: dropped.Add(-time.Duration(len(paths)) * time.Hour)}))
	}
	require.NoError(t, s.Close(t.Context()))

	s = open(t, Options{Directory: dir})
	require.Equal(t, Stats{Records: 4, Bytes: 8 * blockSize}, s.Stats())
	require.NoError(t, s.Close(t.Context()))

	s = open(t, Options{Directory: dir, MaxBytes: 6 * blockSize})
	require.Equal(t, Stats{Removed: 1, Records: 3, Bytes: 6 * blockSize}, s.Stats(), "a smaller bound must hold from the start")
	require.NoFileExists(t, paths[0], "the oldest must be the one that was put first")
	path := put(t, s, Record{Time: dropped})
	require.Contains(t, path, "-0000000005-", "numbers must go on")
	flush(t, s)
	require.NoFileExists(t, paths[1])
	require.FileExists(t, paths[2])
}

func TestOpenRemovesWhatAnInterruptionLeft(t *testing.T) {
	dir := t.TempDir()
	own := filepath.Join(dir, "ordered_remote_write%2Fa")
	require.NoError(t, os.Mkdir(own, 0o700))
	create := func(name string) {
		require.NoError(t, os.WriteFile(filepath.Join(own, name), []byte("x"), 0o600))
	}
	const (
		interrupted = "20260102T030405.678Z-0000000007-rejected"
		complete    = "20260102T030405.678Z-0000000008-rejected"
	)
	create(interrupted + ".snappy")
	create(interrupted + ".json.tmp")
	create(complete + ".snappy")
	create(complete + ".json")
	create("20260102T030405.678Z-0000000009-rejected.snappy.tmp")
	foreign := []string{
		"notes.txt", "other.tmp", "other.json", "20260102T030405.678Z-0000000009-rejected.snappy.bak",
		"20260102T030405.678Z-99999999999999999999-rejected.snappy",
	}
	for _, name := range foreign {
		create(name)
	}
	require.NoError(t, os.Mkdir(filepath.Join(own, "20260102T030405.678Z-0000000010-rejected.json"), 0o700))

	s := open(t, Options{Directory: dir, MaxBytes: 4 * blockSize})
	require.Equal(t, Stats{Records: 2, Bytes: 3 * blockSize}, s.Stats(), "a body without information must be kept")
	require.ElementsMatch(t, append(foreign, interrupted+".snappy", complete+".snappy", complete+".json"), names(t, dir))

	path := put(t, s, Record{})
	flush(t, s)
	require.ElementsMatch(t, append(foreign, complete+".snappy", complete+".json", filepath.Base(path), filepath.Base(infoOf(path))), names(t, dir),
		"a body without information must be removed in its turn")
}

// TestForeignFilesHarmNothing has a folder with files that nobody but a store may name so, and links out of it.
func TestForeignFilesHarmNothing(t *testing.T) {
	dir, outside := t.TempDir(), filepath.Join(t.TempDir(), "outside")
	own := filepath.Join(dir, "ordered_remote_write%2Fa")
	require.NoError(t, os.Mkdir(own, 0o700))
	require.NoError(t, os.WriteFile(outside, []byte("not yours"), 0o600))
	const greatest = "20260102T010405.678Z-18446744073709551615-rejected.snappy"
	require.NoError(t, os.WriteFile(filepath.Join(own, greatest), []byte("x"), 0o600))
	linked := "20260102T010405.678Z-0000000002-rejected.snappy"
	for _, name := range []string{linked, "writable.tmp", "20260102T020405.678Z-0000000001-rejected.snappy.tmp"} {
		require.NoError(t, os.Symlink(outside, filepath.Join(own, name)))
	}
	require.NoError(t, os.Mkdir(filepath.Join(own, "20260102T010405.678Z-0000000003-rejected.snappy"), 0o700))

	var paths []string
	for range 2 { // Numbers go on after a restart, so that the oldest is known.
		s := open(t, Options{Directory: dir, MaxBytes: 6 * blockSize})
		for range 2 {
			paths = append(paths, put(t, s, Record{Time: dropped, Body: []byte("body")}))
		}
		require.NoError(t, s.Close(t.Context()))
	}
	require.Contains(t, paths[0], "-0000000001-")
	require.NoFileExists(t, paths[0], "the oldest is removed for the bound")
	records, err := List(dir)
	require.NoError(t, err)
	var listed []string
	for i := range records {
		listed = append(listed, records[i].path(bodySuffix))
	}
	require.Equal(t, paths[1:], listed)
	left, err := os.ReadFile(outside)
	require.NoError(t, err)
	require.Equal(t, "not yours", string(left))
	require.FileExists(t, filepath.Join(own, greatest))
	require.FileExists(t, filepath.Join(own, linked))
}

func TestRecordIsCompleteWhenItsInformationIsThere(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{Directory: dir})
	var seen [][]string
	s.folder.sync = func(f *os.File) error {
		seen = append(seen, names(t, dir))
		return f.Sync()
	}
	base := filepath.Base(put(t, s, Record{Body: []byte("x")}))
	flush(t, s)
	require.Equal(t, [][]string{
		{base + ".tmp"},
		{infoOf(base) + ".tmp", base},
	}, seen)
}

func TestFailedWriteLeavesNothing(t *testing.T) {
	for i, name := range []string{"body", "information"} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			var reported []error
			s := open(t, Options{Directory: dir, OnError: func(err error) { reported = append(reported, err) }})
			syncs := 0
			s.folder.sync = func(f *os.File) error {
				if syncs++; syncs == i+1 {
					return &fs.PathError{Op: "sync", Path: f.Name(), Err: syscall.ENOSPC}
				}
				return f.Sync()
			}
			put(t, s, Record{Body: []byte("x")})
			flush(t, s)
			require.Empty(t, names(t, dir))
			require.Equal(t, Stats{Failed: 1}, s.Stats())
			require.Len(t, reported, 1)
			require.ErrorIs(t, reported[0], syscall.ENOSPC)

			path := put(t, s, Record{Body: []byte("x")})
			flush(t, s)
			require.FileExists(t, path, "the next record must be written")
			require.Equal(t, Stats{Written: 1, Failed: 1, Records: 1, Bytes: 2 * blockSize}, s.Stats())
		})
	}
}

func TestStoreRecoversWhenItsDirectoryDoes(t *testing.T) {
	dir := t.TempDir()
	var reported []error
	s := open(t, Options{Directory: dir, MaxBytes: 4 * blockSize, OnError: func(err error) { reported = append(reported, err) }})
	own := filepath.Dir(put(t, s, Record{}))
	flush(t, s)

	require.NoError(t, os.RemoveAll(own))
	require.NoError(t, os.WriteFile(own, nil, 0o600))
	put(t, s, Record{})
	put(t, s, Record{})
	flush(t, s)
	require.Len(t, reported, 2)
	require.ErrorIs(t, reported[0], syscall.ENOTDIR)
	require.ErrorContains(t, reported[0], "dead letter: record ")
	require.EqualValues(t, 2, s.Stats().Failed)

	require.NoError(t, os.Remove(own))
	first, second := put(t, s, Record{}), put(t, s, Record{})
	flush(t, s)
	require.FileExists(t, first, "the directory must be created again")
	require.FileExists(t, second)
	require.Len(t, reported, 2)
	require.Equal(t, Stats{Written: 3, Failed: 2, Records: 2, Bytes: 4 * blockSize}, s.Stats())
}

func TestBoundThatCannotBeKeptStopsWriting(t *testing.T) {
	dir := t.TempDir()
	var reported []error
	s := open(t, Options{Directory: dir, MaxBytes: 2 * blockSize, OnError: func(err error) { reported = append(reported, err) }})
	first := put(t, s, Record{})
	flush(t, s)
	// A directory that is not empty cannot be removed like a file, not even by root.
	require.NoError(t, os.Remove(infoOf(first)))
	require.NoError(t, os.MkdirAll(filepath.Join(infoOf(first), "x"), 0o700))

	second := put(t, s, Record{})
	flush(t, s)
	require.NoFileExists(t, second)
	require.Len(t, reported, 1)
	require.ErrorContains(t, reported[0], "cannot remove")
	require.Equal(t, Stats{Written: 1, Failed: 1, Records: 1, Bytes: 2 * blockSize}, s.Stats())

	require.NoError(t, s.Close(t.Context()))
	s = open(t, Options{Directory: dir, MaxBytes: 2 * blockSize})
	require.Equal(t, Stats{Records: 1, Bytes: blockSize}, s.Stats(), "what is not a file is no part of a record")
}

func TestPutNeverWaitsForTheDisk(t *testing.T) {
	stalled := make(chan struct{})
	dir := t.TempDir()
	s := open(t, Options{Directory: dir, MaxQueueBytes: 100_000})
	s.folder.sync = func(f *os.File) error {
		<-stalled
		return f.Sync()
	}
	large := put(t, s, Record{Body: make([]byte, 200_000)})
	_, err := s.Put(Record{})
	require.ErrorIs(t, err, ErrBusy, "a record that is being written must count towards the bound of the queue")
	require.Equal(t, Stats{Pending: 1, Skipped: 1}, s.Stats())
	close(stalled)
	flush(t, s)
	require.FileExists(t, large, "a single record must be accepted whatever its size")
	put(t, s, Record{})
	flush(t, s)
	require.EqualValues(t, 2, s.Stats().Written)
}

func TestQueueIsBoundedInBytes(t *testing.T) {
	stalled := make(chan struct{})
	s := open(t, Options{Directory: t.TempDir(), MaxQueueBytes: 100_000})
	s.folder.sync = func(f *os.File) error {
		<-stalled
		return f.Sync()
	}
	accepted := int64(0)
	for {
		if _, err := s.Put(Record{Body: make([]byte, 9_000)}); err != nil {
			require.ErrorIs(t, err, ErrBusy)
			break
		}
		accepted++
	}
	require.EqualValues(t, 100_000/(9_000+500), accepted)
	require.Equal(t, Stats{Pending: accepted, Skipped: 1}, s.Stats())
	close(stalled)
	flush(t, s)
	require.Equal(t, accepted, s.Stats().Written)
	require.Zero(t, s.queued)
}

func TestCloseWritesWhatIsPending(t *testing.T) {
	s := open(t, Options{Directory: t.TempDir()})
	var paths []string
	for range 20 {
		paths = append(paths, put(t, s, Record{Body: []byte("x")}))
	}
	require.NoError(t, s.Close(t.Context()))
	for _, path := range paths {
		require.FileExists(t, path)
		require.FileExists(t, infoOf(path))
	}
	_, err := s.Put(Record{})
	require.ErrorIs(t, err, ErrClosed)
	require.NoError(t, s.Close(t.Context()), "to close again must do nothing")
	require.Equal(t, Stats{Written: 20, Skipped: 1, Records: 20, Bytes: 40 * blockSize}, s.Stats())
}

func TestCloseKeepsItsDeadline(t *testing.T) {
	stalled, reached := make(chan struct{}), make(chan struct{}, 1)
	s := open(t, Options{Directory: t.TempDir()})
	s.folder.sync = func(f *os.File) error {
		select {
		case reached <- struct{}{}:
		default:
		}
		<-stalled
		return f.Sync()
	}
	for range 3 {
		put(t, s, Record{})
	}
	<-reached
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := s.Close(ctx)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorContains(t, err, "2 given up")
	require.Equal(t, Stats{Pending: 1, Skipped: 2}, s.Stats())
	require.ErrorContains(t, s.Close(ctx), "0 given up", "the write that has begun must count")

	close(stalled)
	require.NoError(t, s.Close(t.Context()))
	require.Equal(t, Stats{Written: 1, Skipped: 2, Records: 1, Bytes: 2 * blockSize}, s.Stats())
	require.Zero(t, s.queued)
}

func TestCloseOfAnIdleStoreIgnoresItsDeadline(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 100 {
		s := open(t, Options{Directory: t.TempDir()})
		require.NoError(t, s.Close(ctx))
	}
}

func TestExportersShareADirectory(t *testing.T) {
	dir := t.TempDir()
	a := open(t, Options{Directory: dir, Exporter: "ordered_remote_write/a_b", MaxBytes: 2 * blockSize})
	b := open(t, Options{Directory: dir, Exporter: "ordered_remote_write/a/b", MaxBytes: 2 * blockSize})
	pathA, pathB := put(t, a, Record{}), put(t, b, Record{})
	flush(t, a)
	flush(t, b)
	require.FileExists(t, pathA)
	require.FileExists(t, pathB)
	require.EqualValues(t, 1, a.Stats().Records)
	require.Zero(t, a.Stats().Removed+b.Stats().Removed)
}

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	taken := filepath.Join(dir, "taken")
	require.NoError(t, os.MkdirAll(filepath.Join(taken, "e", "writable", "x"), 0o700))
	for name, test := range map[string]struct {
		options Options
		want    string
	}{
		"no exporter":  {Options{Directory: dir, MaxBytes: 1 << 20}, "dead letter: no exporter"},
		"no bound":     {Options{Directory: dir, Exporter: "e"}, "dead letter: bound must be at least 8192 bytes, not 0"},
		"small bound":  {Options{Directory: dir, Exporter: "e", MaxBytes: 8191}, "dead letter: bound must be at least 8192 bytes, not 8191"},
		"file":         {Options{Directory: file, Exporter: "e", MaxBytes: 1 << 20}, "dead letter: cannot create the directory: mkdir " + file},
		"below a file": {Options{Directory: filepath.Join(file, "x"), Exporter: "e", MaxBytes: 1 << 20}, "dead letter: cannot create the directory: mkdir " + file},
		"not writable": {Options{Directory: taken, Exporter: "e", MaxBytes: 1 << 20}, "dead letter: cannot write: rename "},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := Open(test.options)
			require.ErrorContains(t, err, test.want)
			require.Nil(t, s)
		})
	}
}

func TestEveryRecordIsAccountedFor(t *testing.T) {
	const callers, each = 8, 50
	dir := t.TempDir()
	s := open(t, Options{Directory: dir, MaxQueueBytes: 20_000, MaxBytes: 100 * blockSize})
	var wg sync.WaitGroup
	var mu sync.Mutex
	accepted := map[string][]byte{}
	for caller := range callers {
		wg.Go(func() {
			for i := range each {
				body := fmt.Appendf(nil, "%d/%d", caller, i)
				path, err := s.Put(Record{Reason: "rejected", Body: body})
				if err != nil {
					if !errors.Is(err, ErrBusy) {
						t.Error(err)
					}
					continue
				}
				mu.Lock()
				accepted[path] = body
				mu.Unlock()
				stats := s.Stats()
				if stats.Bytes > s.options.MaxBytes || stats.Records*2*blockSize != stats.Bytes {
					t.Errorf("%+v", stats)
				}
			}
		})
	}
	wg.Wait()
	require.NoError(t, s.Close(t.Context()))
	stats := s.Stats()
	require.EqualValues(t, len(accepted), stats.Written, "two records must not have the same path")
	require.EqualValues(t, callers*each, stats.Written+stats.Skipped)
	require.Equal(t, stats.Written-stats.Removed, stats.Records)
	files := names(t, dir)
	require.Len(t, files, int(2*stats.Records))
	for path, body := range accepted {
		if got, err := os.ReadFile(path); err == nil {
			require.Equal(t, body, got)
		}
	}
}

// BenchmarkPut shows for how long a partition is held up.
func BenchmarkPut(b *testing.B) {
	s, err := Open(Options{Directory: b.TempDir(), Exporter: exporterID, MaxBytes: 128 << 20})
	require.NoError(b, err)
	stalled := make(chan struct{})
	s.folder.sync = func(*os.File) error {
		<-stalled
		return nil
	}
	r := Record{
		Time: dropped, Reason: "rejected", Status: 400, AnswerBody: strings.Repeat("x", 200), Samples: 2000, Attempts: 1,
		Endpoint: "https://example.com/api/v1/write", ProtobufMessage: "prometheus.WriteRequest",
		Headers: map[string]string{"Content-Encoding": "snappy", "Content-Type": "application/x-protobuf", "User-Agent": "x"},
		Body:    make([]byte, 100_000),
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Put(r); err != nil {
			b.Fatal(err)
		}
		s.giveUp()
	}
	close(stalled)
	require.NoError(b, s.Close(context.Background()))
}
