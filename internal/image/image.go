// Package image looks into the templates that sandboxes boot from: what their
// image holds, whether a guest can start from it, and how two of them differ. It
// mounts nothing and writes nothing; a VM may use the image meanwhile.
package image

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"tapwatch/internal/ext4"
)

// rootfsName is the image's name in the directory of a template.
const rootfsName = "rootfs.ext4"

// Template is what there is of one template on this host.
type Template struct {
	Name     string // as it was asked for
	Dir      string // {storage}/{buildID}; empty where only an image was named
	Rootfs   string // path of the image
	Size     int64  // bytes of the image as a file; what the guest sees
	OnDisk   int64  // bytes that it takes; it may be sparse
	Versions Versions
	// MetadataErr says why Versions could not be read; nil where there is no Dir.
	MetadataErr error
	// FS is the image's files; nil where FSErr says why they cannot be read.
	FS    *ext4.FS
	FSErr error

	file *os.File
}

// Open opens the template of a directory, or a single image. The error says that
// there is none; what is wrong inside is the checks' affair. Close it after use.
func Open(name string) (*Template, error) {
	st, err := os.Stat(name)
	if err != nil {
		return nil, fmt.Errorf("open template: %w", err)
	}
	t := &Template{Name: name, Rootfs: name}
	if st.IsDir() {
		t.Dir, t.Rootfs = filepath.Clean(name), filepath.Join(name, rootfsName)
		t.Versions, t.MetadataErr = readVersions(filepath.Join(t.Dir, metadataName))
	}
	if st, err = os.Stat(t.Rootfs); err == nil && !st.Mode().IsRegular() && st.Mode()&(fs.ModeDevice|fs.ModeCharDevice) != fs.ModeDevice {
		return nil, fmt.Errorf("open template: %s is neither an image nor a block device", t.Rootfs)
	}
	if t.file, err = os.Open(t.Rootfs); err != nil {
		if t.Dir == "" {
			return nil, fmt.Errorf("open template: %w", err)
		}
		t.FSErr = err
		return t, nil
	}
	if t.Size, t.FSErr = t.file.Seek(0, io.SeekEnd); t.FSErr == nil { // right for block devices too
		t.FS, t.FSErr = ext4.New(t.file)
	}
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		t.OnDisk = sys.Blocks * 512
	}
	if t.FSErr == nil && t.Size < t.FS.Size() {
		t.FSErr = fmt.Errorf("%w: cut short: %d bytes of %d", ext4.ErrDamaged, t.Size, t.FS.Size())
	}
	return t, nil
}

// Close closes the image.
func (t *Template) Close() error {
	if t.file == nil {
		return nil
	}
	return t.file.Close()
}

// maxText bounds what is read of a script, in bytes.
const maxText = 256 << 10

// errLong is why a file was not read.
var errLong = fmt.Errorf("longer than %d KiB", maxText>>10)

// text reads a small file of the image.
func (t *Template) text(name string) (string, error) {
	if t.FS == nil {
		return "", t.FSErr
	}
	f, err := t.FS.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxText+1))
	if err == nil && len(b) > maxText {
		err = errLong
	}
	return string(b), err
}

// missing says that there is no file, for whatever reason that is for certain.
func missing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
