// SPDX-License-Identifier: Apache-2.0

// Command image makes a container image of a directory and the last stage of a Containerfile, without a container engine. The
// same files make the same image.
package main

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

func main() {
	var o options
	flag.StringVar(&o.containerfile, "containerfile", "deploy/Containerfile", "whose last stage the image is")
	flag.StringVar(&o.root, "root", "build/image", "what is in the image")
	flag.StringVar(&o.certificates, "certificates", "", "authorities that the image trusts, in PEM")
	flag.StringVar(&o.tag, "tag", "otelcol-ordered:latest", "name of the image")
	flag.StringVar(&o.revision, "revision", "", "of the source")
	out := flag.String("o", "build/image.tar", "archive, for docker load or podman load")
	flag.Parse()
	if err := o.write(*out); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

type options struct {
	containerfile, root, certificates, tag, revision string
}

func (o *options) write(archive string) error {
	tag, err := name.NewTag(o.tag)
	if err != nil {
		return err
	}
	image, err := o.image(tag)
	if err != nil {
		return err
	}
	digest, err := image.Digest()
	if err != nil {
		return err
	}
	if err := tarball.WriteToFile(archive, tag, image); err != nil {
		return err
	}
	fmt.Printf("%s: %s, %s\n", archive, tag.Name(), digest)
	return nil
}

func (o *options) image(tag name.Tag) (v1.Image, error) {
	text, err := os.ReadFile(o.containerfile)
	if err != nil {
		return nil, err
	}
	s, err := readStage(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.containerfile, err)
	}
	files, err := o.files(s)
	if err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(files)), nil })
	if err != nil {
		return nil, err
	}
	image, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return nil, err
	}
	file, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	architecture, err := architectureOf(filepath.Join(o.root, s.config.Entrypoint[0]))
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Config = "linux", architecture, s.config
	file.Config.Labels = map[string]string{
		"org.opencontainers.image.version": tag.TagStr(), "org.opencontainers.image.revision": o.revision,
	}
	return mutate.ConfigFile(image, file)
}

// architectureOf is the architecture of a binary of Linux.
func architectureOf(binary string) (string, error) {
	file, err := elf.Open(binary)
	if err != nil {
		return "", fmt.Errorf("%s is no binary of Linux: %w", binary, err)
	}
	defer file.Close()
	switch file.Machine {
	case elf.EM_X86_64:
		return "amd64", nil
	case elf.EM_AARCH64:
		return "arm64", nil
	default:
		return "", fmt.Errorf("%s is for another architecture: %s", binary, file.Machine)
	}
}

// files is an archive of what is in the image. It has no times, no owner but that of the stage, and no rights but the usual ones.
func (o *options) files(s *stage) ([]byte, error) {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	add := func(path, name string, info fs.FileInfo) error {
		header := &tar.Header{Name: name, Mode: 0o644, Uid: s.uid, Gid: s.gid, ModTime: time.Unix(0, 0), Format: tar.FormatPAX}
		if info.IsDir() || info.Mode()&0o100 != 0 {
			header.Mode = 0o755
		}
		if info.IsDir() {
			if info.Mode()&fs.ModeSticky != 0 {
				header.Mode = 0o1777
			}
			header.Typeflag, header.Name = tar.TypeDir, name+"/"
			return w.WriteHeader(header)
		}
		if !info.Mode().IsRegular() {
			return fmt.Errorf("%s is neither a file nor a directory", path)
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		header.Typeflag, header.Size = tar.TypeReg, int64(len(content))
		if err := w.WriteHeader(header); err != nil {
			return err
		}
		_, err = w.Write(content)
		return err
	}
	err := filepath.WalkDir(o.root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == o.root {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		name, err := filepath.Rel(o.root, path)
		if err != nil {
			return err
		}
		return add(path, filepath.ToSlash(name), info)
	})
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(o.certificates)
	if err != nil {
		return nil, fmt.Errorf("certificates (make image CERTIFICATES=...): %w", err)
	}
	if err := add(o.certificates, "etc/ssl/certs/ca-certificates.crt", info); err != nil {
		return nil, err
	}
	return archive.Bytes(), w.Close()
}
