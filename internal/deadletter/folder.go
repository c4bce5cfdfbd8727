// SPDX-License-Identifier: Apache-2.0

package deadletter // import "github.com/orderedremotewrite/orderedremotewriteexporter/internal/deadletter"

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// blockSize is the unit in which most file systems give room to files.
const blockSize = 4096

// folder is the subdirectory of an exporter. It is not safe for concurrent use.
type folder struct {
	path     string
	maxBytes int64
	records  []record // the oldest first
	bytes    int64    // of all records
	removed  int64    // records that were removed for the bound

	hurry bool                 // there is no time to wait for the disk
	sync  func(*os.File) error // (*os.File).Sync; another one in tests of a disk that fails
}

// record is a record on the disk.
type record struct {
	name   string // without suffix
	number uint64
	bytes  int64
}

// openFolder returns the folder with the records that are in it, after it has removed what it has to.
func openFolder(path string, maxBytes int64) (*folder, error) {
	f := &folder{path: path, maxBytes: maxBytes, sync: (*os.File).Sync}
	if err := f.create(); err != nil {
		return nil, err
	}
	if err := f.adopt(); err != nil {
		return nil, err
	}
	if err := f.makeRoom(0); err != nil {
		return nil, err
	}
	// What can be written can be kept.
	const check = "writable"
	if err := f.writeFile(check, nil); err != nil {
		return nil, err
	}
	return f, f.removeFile(check)
}

// create makes the folder, if it is not there (any more).
func (f *folder) create() error {
	if err := os.MkdirAll(f.path, 0o700); err != nil {
		return fmt.Errorf("cannot create the directory: %w", err)
	}
	return nil
}

// adopt makes the files that are in the folder the store's own, and removes temporary ones.
func (f *folder) adopt() error {
	files, err := os.ReadDir(f.path)
	if err != nil {
		return fmt.Errorf("cannot read the directory: %w", err)
	}
	found := make(map[string]record)
	for _, file := range files {
		name, number, suffix, ok := parseName(file.Name())
		if !ok || !file.Type().IsRegular() {
			continue
		}
		if suffix == temporarySuffix {
			if err := f.removeFile(file.Name()); err != nil {
				return err
			}
			continue
		}
		info, err := file.Info()
		if err != nil {
			return fmt.Errorf("cannot read the directory: %w", err)
		}
		r := record{name: name, number: number, bytes: found[name].bytes + roundUp(info.Size())}
		found[name] = r
		f.bytes += roundUp(info.Size())
	}
	for _, r := range found {
		f.records = append(f.records, r)
	}
	slices.SortFunc(f.records, func(a, b record) int {
		return cmp.Or(cmp.Compare(a.number, b.number), cmp.Compare(a.name, b.name))
	})
	return nil
}

// next returns the number of the next record.
func (f *folder) next() uint64 {
	if len(f.records) == 0 {
		return 1
	}
	return f.records[len(f.records)-1].number + 1
}

// stats returns s with the folder's own figures.
func (f *folder) stats(s Stats) Stats {
	s.Removed = f.removed
	s.Records = int64(len(f.records))
	s.Bytes = f.bytes
	return s
}

// write writes both files of a record, or neither.
func (f *folder) write(e entry) error {
	// Somebody may have removed the folder together with the records in it.
	if err := f.create(); err != nil {
		return err
	}
	if err := f.makeRoom(diskBytes(e)); err != nil {
		return err
	}
	if err := f.writeFile(e.name+bodySuffix, e.body); err != nil {
		return err
	}
	if err := f.writeFile(e.name+infoSuffix, e.info); err != nil {
		return errors.Join(err, f.removeFile(e.name+bodySuffix))
	}
	f.records = append(f.records, record{name: e.name, number: e.number, bytes: diskBytes(e)})
	f.bytes += diskBytes(e)
	return nil
}

// makeRoom removes the oldest records until there is room for so many bytes. Those that somebody has removed are forgotten, and do
// not count as removed for the bound.
func (f *folder) makeRoom(bytes int64) error {
	for len(f.records) > 0 && f.bytes+bytes > f.maxBytes {
		oldest := f.records[0]
		_, gone := os.Lstat(filepath.Join(f.path, oldest.name+bodySuffix))
		// A record whose .json is gone is no longer complete, so this is the order that leaves no half of one.
		for _, suffix := range []string{infoSuffix, bodySuffix} {
			if err := f.removeFile(oldest.name + suffix); err != nil {
				return err
			}
		}
		f.records = f.records[1:]
		f.bytes -= oldest.bytes
		if gone == nil {
			f.removed++
		}
	}
	return nil
}

// writeFile writes a file that is complete as soon as it has its name.
func (f *folder) writeFile(name string, data []byte) error {
	path := filepath.Join(f.path, name)
	temporary := path + temporarySuffix
	err := f.writeTemporary(temporary, data)
	if err == nil {
		err = os.Rename(temporary, path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("cannot write: %w", err), f.removeFile(name+temporarySuffix))
	}
	return nil
}

// writeTemporary writes a new file: what stands under the name may be a link that somebody else has made.
func (f *folder) writeTemporary(path string, data []byte) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	if err == nil && !f.hurry {
		err = f.sync(file)
	}
	return errors.Join(err, file.Close())
}

// removeFile removes a file, if it is there.
func (f *folder) removeFile(name string) error {
	err := os.Remove(filepath.Join(f.path, name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot remove: %w", err)
	}
	return nil
}

// diskBytes returns what the files of a record count towards the bound.
func diskBytes(e entry) int64 {
	return roundUp(int64(len(e.body))) + roundUp(int64(len(e.info)))
}

// roundUp counts an empty file as one block, since its directory entry takes room too.
func roundUp(length int64) int64 {
	return max(1, (length+blockSize-1)/blockSize) * blockSize
}
