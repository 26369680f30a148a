package ext4

import (
	"fmt"
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

// parseDir adds the entries of one block: struct ext4_dir_entry_2.
func parseDir(all []dirent, b []byte) ([]dirent, error) {
	whole := len(b)
	for len(b) >= direntSize {
		length, name := int(le.Uint16(b[4:])), int(b[6])
		if whole == 1<<16 && (length == 0 || length == 1<<16-1) {
			length = 1 << 16
		}
		if length < direntSize+name || length > len(b) || length%4 != 0 {
			return nil, damaged("an entry of %d bytes, of which %d are left", length, len(b))
		}
		if d := (dirent{string(b[direntSize : direntSize+name]), le.Uint32(b)}); d.inode != 0 && d.name != "." && d.name != ".." {
			if d.name == "" || strings.ContainsAny(d.name, "/\x00") {
				return nil, damaged("the name %q", d.name)
			}
			if len(all) == maxEntries {
				return nil, damaged("more than %d entries", maxEntries)
			}
			all = append(all, d)
		}
		b = b[length:]
	}
	return all, nil
}
