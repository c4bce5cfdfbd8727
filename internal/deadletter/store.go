// SPDX-License-Identifier: Apache-2.0

// Package deadletter keeps requests that were dropped in files, so that one can see what was lost and send it again.
//
// A record is two files of one name: <time>-<number>-<reason>.snappy is the body of the request, byte for byte as it was
// sent, and the same with .json tells what became of it (see Record). The command tools/deadletters lists them and sends them
// again; a single one is sent again with
//
//	curl --data-binary @FILE.snappy -H 'Content-Encoding: snappy' -H 'Content-Type: application/x-protobuf' -H 'X-Prometheus-Remote-Write-Version: 0.1.0' URL
//
// where the "headers" of FILE.json have the values of another version of the protocol. What authenticates the exporter is
// never kept and has to be added, and so have headers from its configuration, such as that of a tenant. The samples are
// older than what was written since; a receiver takes them only if it accepts samples out of order.
//
// # Files
//
// Each exporter has a subdirectory of its own, named after its ID, so that several may share the directory; two processes
// must not share it with exporters of the same ID. A store leaves files alone whose names are not its own. The subdirectory
// has mode 0700, the files 0600.
//
// The bound in bytes is one for each exporter. Each file counts with its length rounded up to 4 KiB, which is about what it
// takes on a disk. Before a record is written, as many of the oldest are removed as it takes to stay within the bound. Files
// that somebody else removes are noticed when their turn comes, or at the next start.
//
// A record is complete as soon as its .json has its name: both files are written under a temporary name, and flushed to the
// disk before they are renamed, the .json last. After an interruption there may be a temporary file, which Open
// removes, and a .snappy without a .json, which is complete in itself and kept like any record. A loss of power may
// undo the last records, but leaves none with half a body, except what was dropped at the shutdown: that is not flushed to the
// disk file by file.
package deadletter // import "github.com/orderedremotewrite/orderedremotewriteexporter/internal/deadletter"

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

var (
	// ErrBusy is returned by Put while records come faster than they can be written.
	ErrBusy = errors.New("dead letter: too many records wait to be written")

	// ErrTooLarge is returned by Put for a record that alone exceeds the bound of the store.
	ErrTooLarge = errors.New("dead letter: record is larger than the bound")

	// ErrClosed is returned by Put after Close.
	ErrClosed = errors.New("dead letter: store is closed")
)

// keptHeaders are the headers that a record keeps: those that the protocol prescribes. All others may hold a secret.
var keptHeaders = []string{"Content-Encoding", "Content-Type", "User-Agent", "X-Prometheus-Remote-Write-Version"}

// Record is a request that was dropped. All but Body is written to the .json, with the ID of the exporter as "exporter", the
// name of the other file as "body_file", and the length of Body as "body_bytes".
type Record struct {
	// Time is when the request was dropped. The zero time stands for now.
	Time time.Time `json:"time"`

	// Reason is why the request was dropped, in the words of the counters. It is part of the file names, where all but
	// lower-case letters, digits and underscores are replaced by underscores.
	Reason string `json:"reason"`

	// Status is the HTTP status of the last answer, or 0 if there was none.
	Status int `json:"status,omitempty"`

	// AnswerBody is the beginning of the last answer's body, as far as the caller has read it.
	AnswerBody string `json:"answer_body,omitempty"`

	// Samples is the number of samples in the request.
	Samples int `json:"samples"`

	// Attempts is how often the request was sent; 0 if it never was.
	Attempts int `json:"attempts"`

	// Endpoint is the URL that the request was for. The caller has removed all secrets from it.
	Endpoint string `json:"endpoint"`

	// ProtobufMessage is the full name of the message in the body.
	ProtobufMessage string `json:"protobuf_message"`

	// Headers are the request's headers. Only Content-Encoding, Content-Type, User-Agent and
	// X-Prometheus-Remote-Write-Version are kept, under these names; any others are left out.
	Headers map[string]string `json:"headers"`

	// Body is the compressed body of the request.
	Body []byte `json:"-"`

	// Compose makes the body of a record that has none yet, in the goroutine that writes. It is nil if there is Body. Size is
	// what the record takes in memory until then.
	Compose func() []byte `json:"-"`
	Size    int64         `json:"-"`
}

// document is the content of a .json file.
type document struct {
	Exporter string `json:"exporter"`
	Record
	BodyFile  string `json:"body_file"`
	BodyBytes int    `json:"body_bytes"`
}

// defaultQueueBytes holds a few requests for each partition, for as long as the disk takes to write them.
const defaultQueueBytes = 16 << 20

// Options configure a store.
type Options struct {
	// Directory is where the subdirectory of the exporter is, or will be.
	Directory string

	// Exporter is the component ID of the exporter.
	Exporter string

	// MaxBytes bounds the bytes that the exporter's records take on the disk; at least 8 KiB, which is the least that one
	// takes.
	MaxBytes int64

	// MaxQueueBytes bounds the bytes of the records in memory that wait to be written; 0 stands for 16 MiB. A single
	// record is accepted whatever its size.
	MaxQueueBytes int64

	// OnError is called for each record that could not be written, from the goroutine that writes: records wait while it
	// runs. It must not call Close. It may be nil.
	OnError func(error)
}

// Stats says what became of the records. Each one handed to Put is written, failed, skipped or pending.
type Stats struct {
	Written int64 // are or were on the disk
	Failed  int64 // could not be written; OnError was told why
	Skipped int64 // were refused by Put with an error, or given up by Close
	Pending int64 // wait to be written, or are being written

	Removed int64 // records, of whatever age, that were removed to stay within the bound
	Records int64 // on the disk
	Bytes   int64 // that these take on the disk, with each file rounded up to 4 KiB
}

// Store keeps the records of one exporter. It is safe for concurrent use.
//
// One goroutine writes the files, so that a slow disk delays nobody who calls Put.
type Store struct {
	options Options
	done    chan struct{} // closed when the goroutine has ended

	mu     sync.Mutex // guards what follows; never held while a file is accessed
	work   sync.Cond  // signals that queue or closed has changed
	queue  []entry
	queued int64 // bytes of the entries in the queue and of the one that is being written
	next   uint64
	closed bool
	last   bool
	stats  Stats

	folder *folder // belongs to the goroutine
}

// entry is a record that waits to be written.
type entry struct {
	name   string
	number uint64
	body   []byte
	info   []byte
	size   int64 // what it takes in memory

	later *Record // what body and info are made of when it is written, or nil
}

// Open returns a store that goes on with the records that are already there, of which it removes the oldest if they exceed
// the bound. It returns an error if the options are not valid, or if the directory cannot be created, read and written.
// The store has to be closed.
func Open(options Options) (*Store, error) {
	if options.Exporter == "" {
		return nil, errors.New("dead letter: no exporter")
	}
	if options.MaxBytes < 2*blockSize {
		return nil, fmt.Errorf("dead letter: bound must be at least %d bytes, not %d", 2*blockSize, options.MaxBytes)
	}
	if options.MaxQueueBytes <= 0 {
		options.MaxQueueBytes = defaultQueueBytes
	}
	f, err := openFolder(filepath.Join(options.Directory, folderName(options.Exporter)), options.MaxBytes)
	if err != nil {
		return nil, fmt.Errorf("dead letter: %w", err)
	}
	s := &Store{
		options: options,
		done:    make(chan struct{}),
		folder:  f,
		next:    f.next(),
		stats:   f.stats(Stats{}),
	}
	s.work.L = &s.mu
	go s.run()
	return s, nil
}

// Put hands over a record to be written, and returns the path that its body will have. It does not wait for the disk. The
// caller may change the record afterwards.
//
// It returns ErrBusy while too many bytes wait to be written, ErrTooLarge if the record can never be kept, and ErrClosed
// after Close. A record that cannot be written later on is reported to Options.OnError.
func (s *Store) Put(r Record) (path string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, err := s.prepare(r)
	if err != nil {
		s.stats.Skipped++
		return "", err
	}
	e.body = slices.Clone(e.body)
	s.next++
	s.queue = append(s.queue, e)
	s.queued += e.size
	s.stats.Pending++
	s.work.Signal()
	return filepath.Join(s.folder.path, e.name+bodySuffix), nil
}

// prepare returns the record as it will be written, if there is room for it. The body is still the caller's.
func (s *Store) prepare(r Record) (entry, error) {
	if s.closed {
		return entry{}, ErrClosed
	}
	if r.Time.IsZero() {
		r.Time = time.Now()
	}
	r.Time = r.Time.UTC()
	r.Headers = keep(r.Headers)
	e := entry{name: recordName(r.Time, s.next, r.Reason), number: s.next, size: r.Size}
	if r.Compose != nil {
		e.later = &r
	} else {
		if err := s.complete(&e, r); err != nil {
			return entry{}, err
		}
		e.size = int64(len(e.body) + len(e.info))
	}
	if s.queued > 0 && s.queued+e.size > s.options.MaxQueueBytes && !s.last {
		return entry{}, ErrBusy
	}
	return e, nil
}

// complete gives an entry what is written.
func (s *Store) complete(e *entry, r Record) (err error) {
	e.body = r.Body
	if e.info, err = encode(document{
		Exporter:  s.options.Exporter,
		Record:    r,
		BodyFile:  e.name + bodySuffix,
		BodyBytes: len(r.Body),
	}); err != nil {
		return fmt.Errorf("dead letter: %w", err)
	}
	if diskBytes(*e) > s.options.MaxBytes {
		return fmt.Errorf("%w: %d of %d bytes", ErrTooLarge, diskBytes(*e), s.options.MaxBytes)
	}
	return nil
}

// write writes a record, of which the body may have to be made first.
func (s *Store) write(e entry) error {
	if r := e.later; r != nil {
		r.Body = r.Compose()
		if err := s.complete(&e, *r); err != nil {
			return err
		}
	}
	return s.folder.write(e)
}

// Last says that what comes from now on comes at once, is in memory anyway, and must be written soon: none of it is refused because
// too much waits, and it is left to the operating system when it is on the disk.
func (s *Store) Last() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = true
}

// encode returns the document as people read it: an answer in HTML stays as it is.
func encode(d document) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(d)
	return b.Bytes(), err
}

// keep returns the headers that a record keeps.
func keep(headers map[string]string) map[string]string {
	kept := make(map[string]string, len(keptHeaders))
	for name, value := range headers {
		if name = http.CanonicalHeaderKey(name); slices.Contains(keptHeaders, name) {
			kept[name] = value
		}
	}
	return kept
}

// Stats returns the figures of the moment.
func (s *Store) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats
}

// Close waits until all records are written, and ends the store. When the context ends first, the records that still wait
// are given up and counted as skipped, and Close returns an error; a write that has begun goes on in the background.
func (s *Store) Close(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	s.work.Signal()
	s.mu.Unlock()
	select {
	case <-s.done:
		return nil
	case <-ctx.Done():
	}
	givenUp, writing := s.giveUp()
	if givenUp == 0 && !writing {
		<-s.done // Nothing is left that the goroutine could wait for.
		return nil
	}
	return fmt.Errorf("dead letter: closed before all records were written, %d given up: %w", givenUp, ctx.Err())
}

// giveUp empties the queue. It returns how many records waited, and whether one is being written.
func (s *Store) giveUp() (waited int, writing bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	waited = len(s.queue)
	for _, e := range s.queue {
		s.queued -= e.size
	}
	s.queue = nil
	s.stats.Pending -= int64(waited)
	s.stats.Skipped += int64(waited)
	return waited, s.stats.Pending > 0
}

// run writes one record after the other, until the store is closed and nothing is left.
func (s *Store) run() {
	defer close(s.done)
	for {
		e, ok := s.take()
		if !ok {
			return
		}
		err := s.write(e)
		// First the callback: while it runs the record is pending, so that Close knows what it would wait for.
		if err != nil && s.options.OnError != nil {
			s.options.OnError(fmt.Errorf("dead letter: record %s not written: %w", e.name, err))
		}
		s.settle(e, err)
	}
}

// take waits for a record. It returns false when the store is closed and there is none.
func (s *Store) take() (e entry, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.queue) == 0 {
		if s.closed {
			return entry{}, false
		}
		s.work.Wait()
	}
	s.folder.hurry = s.last
	e = s.queue[0]
	s.queue[0] = entry{}
	s.queue = s.queue[1:]
	return e, true
}

// settle accounts for a record that has been written, or could not be.
func (s *Store) settle(e entry, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queued -= e.size
	s.stats.Pending--
	if err != nil {
		s.stats.Failed++
	} else {
		s.stats.Written++
	}
	s.stats = s.folder.stats(s.stats)
}
