package ext4

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"time"
)

// content is what a file holds.
type content struct {
	f *FS
	i *inode
}

func (f *FS) content(i *inode) content { return content{f, i} }

// ReadAt implements io.ReaderAt.
func (c content) ReadAt(b []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fs.ErrInvalid
	}
	if off >= c.i.size {
		return 0, io.EOF
	}
	short := int64(len(b)) > c.i.size-off
	if short {
		b = b[:c.i.size-off]
	}
	done := 0
	for done < len(b) {
		n, err := c.readSome(b[done:], off+int64(done))
		done += n
		if err != nil {
			return done, err
		}
	}
	if short {
		return done, io.EOF
	}
	return done, nil
}

// readSome reads at least a byte, and at most what lies together.
func (c content) readSome(b []byte, off int64) (int, error) {
	if c.i.flags&flagInlineData != 0 {
		all, err := c.i.inline()
		if err != nil {
			return 0, err
		}
		return copy(b, all[off:]), nil
	}
	size := c.f.blockSize
	within := off % size
	block, run, err := c.f.locate(c.i, uint64(off/size))
	if err != nil {
		return 0, err
	}
	if most := int64(run)*size - within; most > 0 && int64(len(b)) > most { // else more than fits an int64
		b = b[:most]
	}
	if block == 0 {
		clear(b)
		return len(b), nil
	}
	if last := block + uint64((within+int64(len(b))-1)/size); last >= c.f.blocks {
		return 0, damaged("inode %d has block %d of %d", c.i.number, last, c.f.blocks)
	}
	if err := c.f.readBlock(b, block, within); err != nil {
		return 0, fmt.Errorf("inode %d: %w", c.i.number, err)
	}
	return len(b), nil
}

// open makes the file of an inode.
func (f *FS) open(name string, i *inode) (fs.File, error) {
	if i.isDir() {
		return &dir{f: f, i: i, name: name}, nil
	}
	if i.mode&modeType != modeRegular {
		return nil, &fs.PathError{Op: "open", Path: name, Err: errors.New("neither a file nor a directory")}
	}
	return &file{SectionReader: io.NewSectionReader(f.content(i), 0, i.size), info: info{path.Base(name), i}}, nil
}

// file is an open file: it can be read at any place.
type file struct {
	*io.SectionReader
	info info
}

func (f *file) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *file) Close() error               { return nil }

// dir is an open directory.
type dir struct {
	f    *FS
	i    *inode
	name string
	list []fs.DirEntry // what ReadDir has not told yet
	read bool
}

func (d *dir) Stat() (fs.FileInfo, error) { return info{path.Base(d.name), d.i}, nil }
func (d *dir) Close() error               { return nil }

func (d *dir) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: d.name, Err: errors.New("is a directory")}
}

// ReadDir implements fs.ReadDirFile.
func (d *dir) ReadDir(n int) ([]fs.DirEntry, error) {
	if !d.read {
		list, err := d.f.list(d.i)
		if err != nil {
			return nil, &fs.PathError{Op: "readdir", Path: d.name, Err: err}
		}
		d.list, d.read = list, true
	}
	if n <= 0 {
		n = len(d.list)
	} else if len(d.list) == 0 {
		return nil, io.EOF
	}
	n = min(n, len(d.list))
	part := d.list[:n]
	d.list = d.list[n:]
	return part, nil
}

// info is what Stat tells.
type info struct {
	name string
	i    *inode
}

// Owner is what Sys of a FileInfo returns.
type Owner struct{ UID, GID uint32 }

func (s info) Name() string       { return s.name }
func (s info) Size() int64        { return s.i.size }
func (s info) Mode() fs.FileMode  { return s.i.fileMode() }
func (s info) ModTime() time.Time { return s.i.mtime }
func (s info) IsDir() bool        { return s.i.isDir() }
func (s info) Sys() any           { return Owner{s.i.uid, s.i.gid} }
