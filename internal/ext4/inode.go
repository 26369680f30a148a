package ext4

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"
)

const rootInode = 2

// Flags of an inode.
const (
	flagExtents    = 0x80000
	flagInlineData = 0x10000000
)

// inode is one file's, of struct ext4_inode in fs/ext4/ext4.h.
type inode struct {
	number   uint32
	mode     uint16
	uid, gid uint32
	size     int64
	mtime    time.Time
	flags    uint32
	block    [60]byte // extents, block numbers, a short symlink's target, or inline data
	extra    []byte   // what follows the inode's fixed part: extended attributes
}

// The kinds of file in an inode's mode.
const (
	modeType    = 0xF000
	modeDir     = 0x4000
	modeRegular = 0x8000
	modeSymlink = 0xA000
)

func (i *inode) isDir() bool     { return i.mode&modeType == modeDir }
func (i *inode) isSymlink() bool { return i.mode&modeType == modeSymlink }

// readAt reads all of b at a byte of the image.
func (f *FS) readAt(b []byte, off int64) error {
	n, err := f.r.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if errors.Is(err, io.EOF) {
		return damaged("cut short: nothing at byte %d", off)
	}
	return fmt.Errorf("read byte %d of the image: %w", off, err)
}

// readBlock reads a part of a block of the image.
func (f *FS) readBlock(b []byte, block uint64, within int64) error {
	if block == 0 || block >= f.blocks {
		return damaged("block %d of %d", block, f.blocks)
	}
	return f.readAt(b, int64(block)*f.blockSize+within)
}

// inode reads one.
func (f *FS) inode(number uint32) (*inode, error) {
	if number == 0 || number > f.inodes {
		return nil, damaged("inode %d of %d", number, f.inodes)
	}
	group, index := uint64((number-1)/f.inodesPerGroup), int64((number-1)%f.inodesPerGroup)
	if group >= f.groups() {
		return nil, damaged("inode %d is of group %d of %d", number, group, f.groups())
	}
	table, err := f.inodeTable(group)
	if err != nil {
		return nil, err
	}
	off := index * f.inodeSize
	b := make([]byte, f.inodeSize)
	if err := f.readBlock(b, table+uint64(off/f.blockSize), off%f.blockSize); err != nil {
		return nil, fmt.Errorf("inode %d: %w", number, err)
	}
	return parseInode(number, b)
}

// inodeTable returns the first block of a group's inodes, from its descriptor.
func (f *FS) inodeTable(group uint64) (uint64, error) {
	d := make([]byte, f.descSize)
	off := int64(group) * f.descSize
	if err := f.readBlock(d, f.firstBlock+1+uint64(off/f.blockSize), off%f.blockSize); err != nil {
		return 0, fmt.Errorf("descriptor of group %d: %w", group, err)
	}
	table := uint64(le.Uint32(d[0x8:]))
	if len(d) >= 64 {
		table |= uint64(le.Uint32(d[0x28:])) << 32
	}
	return table, nil
}

func parseInode(number uint32, b []byte) (*inode, error) {
	i := &inode{
		number: number,
		mode:   le.Uint16(b[0x0:]),
		uid:    uint32(le.Uint16(b[0x2:])) | uint32(le.Uint16(b[0x78:]))<<16,
		gid:    uint32(le.Uint16(b[0x18:])) | uint32(le.Uint16(b[0x7A:]))<<16,
		mtime:  time.Unix(int64(int32(le.Uint32(b[0x10:]))), 0),
		flags:  le.Uint32(b[0x20:]),
	}
	size := uint64(le.Uint32(b[0x4:])) | uint64(le.Uint32(b[0x6C:]))<<32
	if size > 1<<48 {
		return nil, damaged("inode %d has %d bytes", number, size)
	}
	i.size = int64(size)
	copy(i.block[:], b[0x28:])
	if i.mode == 0 {
		return nil, damaged("inode %d is not in use", number)
	}
	if len(b) > 0x82 {
		if at := 128 + int(le.Uint16(b[0x80:])); at <= len(b) {
			i.extra = b[at:]
		}
	}
	return i, nil
}

// fileMode is the inode's mode in the words of io/fs.
func (i *inode) fileMode() fs.FileMode {
	m := fs.FileMode(i.mode & 0o777)
	for bit, flag := range map[uint16]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if i.mode&bit != 0 {
			m |= flag
		}
	}
	switch i.mode & modeType {
	case modeRegular:
	case modeDir:
		m |= fs.ModeDir
	case modeSymlink:
		m |= fs.ModeSymlink
	case 0x1000:
		m |= fs.ModeNamedPipe
	case 0x2000:
		m |= fs.ModeDevice | fs.ModeCharDevice
	case 0x6000:
		m |= fs.ModeDevice
	case 0xC000:
		m |= fs.ModeSocket
	default:
		m |= fs.ModeIrregular
	}
	return m
}
