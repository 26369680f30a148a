package ext4

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
)

const (
	// maxDirSize and maxEntries bound one directory.
	maxDirSize = 8 << 20
	maxEntries = 1 << 16
	// direntSize is the fixed part of a directory entry.
	direntSize = 8
)

// dirent is a name in a directory.
type dirent struct {
	name  string
	inode uint32
}

// entries returns what a directory holds but "." and "..", by name. Its blocks are
// read one after another: the index of a large one lies in blocks that look empty.
func (f *FS) entries(i *inode) ([]dirent, error) {
	if !i.isDir() {
		return nil, errNotDir
	}
	if i.size > maxDirSize {
		return nil, damaged("directory %d has %d bytes", i.number, i.size)
	}
	var all []dirent
	err := f.dirBlocks(i, func(b []byte) (err error) {
		all, err = parseDir(all, b)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("directory %d: %w", i.number, err)
	}
	slices.SortFunc(all, func(a, b dirent) int { return strings.Compare(a.name, b.name) })
	for n := 1; n < len(all); n++ {
		if all[n].name == all[n-1].name {
			return nil, damaged("directory %d has the name %q twice", i.number, all[n].name)
		}
	}
	return all, nil
}

// dirBlocks hands out the areas that hold entries.
func (f *FS) dirBlocks(i *inode, do func([]byte) error) error {
	if i.flags&flagInlineData != 0 {
		b := i.block[4:] // the parent's inode comes first
		if i.size < 60 && i.size >= 4 {
			b = i.block[4:i.size]
		}
		if err := do(b); err != nil {
			return err
		}
		return do(i.systemData())
	}
	b := make([]byte, f.blockSize)
	for n := range uint64((i.size + f.blockSize - 1) / f.blockSize) {
		block, _, err := f.locate(i, n)
		if err != nil {
			return err
		}
		if block == 0 {
			return damaged("block %d is missing", n)
		}
		if err := f.readBlock(b, block, 0); err != nil {
			return err
		}
		if err := do(b); err != nil {
			return err
		}
	}
	return nil
}

// errFound ends a search.
var errFound = errors.New("found")

// find returns the inode of a name in a directory, or fs.ErrNotExist.
func (f *FS) find(i *inode, name string) (number uint32, err error) {
	if i.size > maxDirSize {
		return 0, damaged("directory %d has %d bytes", i.number, i.size)
	}
	err = f.dirBlocks(i, func(b []byte) error {
		return eachEntry(b, func(entry []byte, inode uint32) error {
			if string(entry) == name {
				number = inode
				return errFound
			}
			return nil
		})
	})
	switch {
	case errors.Is(err, errFound):
		return number, nil
	case err != nil:
		return 0, fmt.Errorf("directory %d: %w", i.number, err)
	}
	return 0, fs.ErrNotExist
}

// parseDir adds the entries of one block.
func parseDir(all []dirent, b []byte) ([]dirent, error) {
	err := eachEntry(b, func(name []byte, inode uint32) error {
		if len(all) == maxEntries {
			return damaged("more than %d entries", maxEntries)
		}
		all = append(all, dirent{string(name), inode})
		return nil
	})
	return all, err
}

// eachEntry hands out the entries of one block, without "." and "..": struct
// ext4_dir_entry_2.
func eachEntry(b []byte, do func(name []byte, inode uint32) error) error {
	whole := len(b)
	for len(b) >= direntSize {
		length, n := int(le.Uint16(b[4:])), int(b[6])
		if whole == 1<<16 && (length == 0 || length == 1<<16-1) {
			length = 1 << 16
		}
		if length < direntSize+n || length > len(b) || length%4 != 0 {
			return damaged("an entry of %d bytes, of which %d are left", length, len(b))
		}
		inode, name := le.Uint32(b), b[direntSize:direntSize+n]
		b = b[length:]
		if inode == 0 || string(name) == "." || string(name) == ".." {
			continue
		}
		if n == 0 || bytes.ContainsAny(name, "/\x00") {
			return damaged("the name %q", name)
		}
		if err := do(name, inode); err != nil {
			return err
		}
	}
	return nil
}
