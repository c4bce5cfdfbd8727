// SPDX-License-Identifier: Apache-2.0

package deadletter

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestRecordsAreRead as they were kept, in their order, from the directory of all exporters and from that of one.
func TestRecordsAreRead(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{Directory: dir})
	record := Record{Time: dropped.UTC(), Reason: "rejected", Status: 400, Samples: 2, Headers: map[string]string{}, Body: []byte("body")}
	put(t, s, record)
	record.Reason, record.Body = "shutdown", []byte("another")
	put(t, s, record)
	other := open(t, Options{Directory: dir, Exporter: "other"})
	put(t, other, record)
	flush(t, s)
	flush(t, other)
	require.NoError(t, os.WriteFile(filepath.Join(dir, folderName(exporterID), "sent.log"), nil, 0o600))

	all, err := List(dir)
	require.NoError(t, err)
	require.Len(t, all, 3)
	own, err := List(filepath.Join(dir, folderName(exporterID)))
	require.NoError(t, err)
	require.Len(t, own, 2)
	require.Equal(t, "rejected", own[0].Reason)
	require.Equal(t, 400, own[0].Status)
	require.Equal(t, exporterID, own[0].Exporter)
	require.True(t, own[0].Time.Equal(dropped))
	body, err := own[1].ReadBody()
	require.NoError(t, err)
	require.Equal(t, "another", string(body))

	// The name of one without a .json tells its time and its reason.
	require.NoError(t, os.Remove(own[0].path(infoSuffix)))
	own, err = List(filepath.Join(dir, folderName(exporterID)))
	require.NoError(t, err)
	require.Equal(t, "rejected", own[0].Reason)
	require.True(t, own[0].Time.Equal(dropped))

	// So does that of one whose .json is empty, as after a loss of power.
	require.NoError(t, os.Truncate(own[1].path(infoSuffix), 0))
	all, err = List(dir)
	require.NoError(t, err)
	require.Len(t, all, 3)
	cut, err := List(filepath.Join(dir, folderName(exporterID)))
	require.NoError(t, err)
	require.Equal(t, "shutdown", cut[1].Reason)
	require.Empty(t, cut[1].BodyFile)
	body, err = cut[1].ReadBody()
	require.NoError(t, err)
	require.Equal(t, "another", string(body))

	require.NoError(t, os.Truncate(own[1].path(bodySuffix), 2))
	_, err = own[1].ReadBody()
	require.ErrorContains(t, err, "has 2 bytes of 7")
	require.NoError(t, own[1].Remove())
	require.NoError(t, own[1].Remove(), "twice")
	own, err = List(filepath.Join(dir, folderName(exporterID)))
	require.NoError(t, err)
	require.Len(t, own, 1)
	_, err = List(filepath.Join(dir, "none"))
	require.ErrorIs(t, err, os.ErrNotExist)
}

// TestBodyIsMadeWhenItIsWritten: a record whose body is not there yet takes its size in the queue, and is written like any other.
// TestOtherFoldersAreNotRead has a directory that is the root of a file system, whose lost+found only root may read.
func TestOtherFoldersAreNotRead(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"lost+found", ".snapshot"} {
		other := filepath.Join(dir, name)
		require.NoError(t, os.Mkdir(other, 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(other, "20260102T010405.678Z-0000000001-rejected.snappy"), nil, 0o600))
		require.NoError(t, os.Chmod(other, 0))
		t.Cleanup(func() { _ = os.Chmod(other, 0o700) })
	}
	s := open(t, Options{Directory: dir})
	path := put(t, s, Record{})
	require.NoError(t, s.Close(t.Context()))
	records, err := List(dir)
	require.NoError(t, err)
	require.Len(t, records, 1)
	require.Equal(t, path, records[0].path(bodySuffix))
	for _, id := range []string{"ordered_remote_write", "ordered_remote_write/a b", ".../x", "é" + strings.Repeat("x", 300)} {
		require.Regexp(t, folderPattern, folderName(id))
	}
}

func TestBodyIsMadeWhenItIsWritten(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{Directory: dir, MaxQueueBytes: 100})
	held, made := make(chan struct{}), 0
	compose := func() []byte {
		<-held
		made++
		return []byte("body")
	}
	record := Record{Reason: "queue_full", Compose: compose, Size: 60}
	put(t, s, record)
	_, err := s.Put(record)
	require.ErrorIs(t, err, ErrBusy)
	s.Last()
	put(t, s, record)
	close(held)
	flush(t, s)
	require.Equal(t, 2, made)
	records, err := List(dir)
	require.NoError(t, err)
	require.Len(t, records, 2)
	body, err := records[1].ReadBody()
	require.NoError(t, err)
	require.Equal(t, "body", string(body))
	require.Equal(t, Stats{Written: 2, Skipped: 1, Records: 2, Bytes: 4 * blockSize}, s.Stats())
}
