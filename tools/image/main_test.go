// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// The same files make the same image, byte for byte, whenever and by whomever they were made; others make another one.
func TestSameFilesMakeTheSameImage(t *testing.T) {
	image := func(age time.Duration, rights os.FileMode, licence string) []byte {
		dir := t.TempDir()
		at := time.Now().Add(-age)
		write := func(name string, content []byte, rights os.FileMode) {
			path := filepath.Join(dir, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o700|rights); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, content, rights); err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(path, at, at); err != nil {
				t.Fatal(err)
			}
		}
		write("root/otelcol", emptyBinary(t), 0o700|rights)
		write("root/LICENSE", []byte(licence), 0o600|rights)
		write("root/etc/otelcol/config.yaml", []byte("service:\n"), 0o600|rights)
		write("certificates.pem", []byte("certificates\n"), 0o600|rights)
		o := options{
			containerfile: "../../deploy/Containerfile", root: filepath.Join(dir, "root"),
			certificates: filepath.Join(dir, "certificates.pem"), tag: "otelcol-ordered:1.2.3", revision: "abc",
		}
		archive := filepath.Join(dir, "image.tar")
		if err := o.write(archive); err != nil {
			t.Fatal(err)
		}
		content, err := os.ReadFile(archive)
		if err != nil {
			t.Fatal(err)
		}
		return content
	}
	first := image(0, 0, "a")
	if !bytes.Equal(first, image(48*time.Hour, 0o044, "a")) {
		t.Error("the same files have made another image")
	}
	if bytes.Equal(first, image(0, 0, "b")) {
		t.Error("other files have made the same image")
	}
}

// emptyBinary is a binary of Linux with nothing in it.
func emptyBinary(t *testing.T) []byte {
	t.Helper()
	header := elf.Header64{
		Ident: [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:  uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64), Version: uint32(elf.EV_CURRENT), Ehsize: 64,
	}
	var b bytes.Buffer
	if err := binary.Write(&b, binary.LittleEndian, &header); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
