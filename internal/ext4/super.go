// Package ext4 reads the files of an ext4 image without mounting it. Nothing is
// written, no privilege is needed, and the image may be in use: then what is read
// is what its owner has written to it so far, without the journal.
//
// An image is data of strangers. Whatever is in it, a method returns a value or an
// error, in time and memory that the bounds of this package limit.
package ext4

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

var (
	// ErrNotExt4 is returned by New for what has no ext4 superblock.
	ErrNotExt4 = errors.New("not an ext4 image")
	// ErrDamaged is returned where the image contradicts itself or ends too early.
	ErrDamaged = errors.New("damaged ext4 image")
	// ErrUnsupported is returned by New for an image that needs more than this
	// package can do, which the error names.
	ErrUnsupported = errors.New("unsupported ext4 image")
)

// The superblock and its fields: struct ext4_super_block in fs/ext4/ext4.h.
const (
	superOffset = 1024
	superSize   = 1024
	superMagic  = 0xEF53
)

// Features that a reader must know, or it would misread the image.
const (
	incompatFiletype   = 0x2
	incompatRecover    = 0x4
	incompatExtents    = 0x40
	incompat64Bit      = 0x80
	incompatMMP        = 0x100
	incompatFlexBG     = 0x200
	incompatEAInode    = 0x400
	incompatCsumSeed   = 0x2000
	incompatLargeDir   = 0x4000
	incompatInlineData = 0x8000
	incompatCasefold   = 0x20000

	incompatKnown = incompatFiletype | incompatRecover | incompatExtents | incompat64Bit | incompatMMP | incompatFlexBG |
		incompatEAInode | incompatCsumSeed | incompatLargeDir | incompatInlineData | incompatCasefold
)

// unknownFeatures name what incompatKnown lacks, for the error.
var unknownFeatures = []struct {
	bit  uint32
	name string
}{{0x1, "compression"}, {0x8, "journal device"}, {0x10, "meta_bg"}, {0x1000, "dirdata"}, {0x10000, "encrypt"}}

// super is what is needed of the superblock, checked.
type super struct {
	blockSize      int64
	blocks         uint64
	firstBlock     uint64
	blocksPerGroup uint64
	inodes         uint32
	inodesPerGroup uint32
	inodeSize      int64
	descSize       int64
	incompat       uint32
}

var le = binary.LittleEndian

func readSuper(r io.ReaderAt) (super, error) {
	b := make([]byte, superSize)
	if n, err := r.ReadAt(b, superOffset); n < superSize {
		if errors.Is(err, io.EOF) {
			return super{}, fmt.Errorf("%w: too short for a superblock", ErrNotExt4)
		}
		return super{}, fmt.Errorf("read superblock: %w", err)
	}
	if le.Uint16(b[0x38:]) != superMagic {
		return super{}, fmt.Errorf("%w: no superblock", ErrNotExt4)
	}
	s := super{
		blocks:         uint64(le.Uint32(b[0x04:])),
		firstBlock:     uint64(le.Uint32(b[0x14:])),
		blocksPerGroup: uint64(le.Uint32(b[0x20:])),
		inodes:         le.Uint32(b[0x00:]),
		inodesPerGroup: le.Uint32(b[0x28:]),
		inodeSize:      128,
		descSize:       32,
		incompat:       le.Uint32(b[0x60:]),
	}
	shift := le.Uint32(b[0x18:])
	if shift > 6 { // 64 KiB blocks are the largest
		return super{}, damaged("blocks of 2^%d KiB", shift)
	}
	s.blockSize = 1024 << shift
	if le.Uint32(b[0x4C:]) > 0 { // the dynamic revision
		s.inodeSize = int64(le.Uint16(b[0x58:]))
	}
	if s.incompat&incompat64Bit != 0 {
		s.blocks |= uint64(le.Uint32(b[0x150:])) << 32
		s.descSize = int64(le.Uint16(b[0xFE:]))
	}
	return s, s.check()
}

func (s super) check() error {
	if unknown := s.incompat &^ incompatKnown; unknown != 0 {
		for _, f := range unknownFeatures {
			if unknown&f.bit != 0 {
				return fmt.Errorf("%w: it uses the feature %s", ErrUnsupported, f.name)
			}
		}
		return fmt.Errorf("%w: it uses features %#x", ErrUnsupported, unknown)
	}
	switch {
	case s.blocks == 0 || s.blocks > 1<<48 || s.firstBlock >= s.blocks:
		return damaged("%d blocks, the first %d", s.blocks, s.firstBlock)
	case s.blocksPerGroup == 0 || s.blocksPerGroup > uint64(8*s.blockSize):
		return damaged("%d blocks in a group", s.blocksPerGroup)
	case s.inodesPerGroup == 0 || int64(s.inodesPerGroup) > 8*s.blockSize:
		return damaged("%d inodes in a group", s.inodesPerGroup)
	case s.inodeSize < 128 || s.inodeSize > s.blockSize || s.inodeSize&(s.inodeSize-1) != 0:
		return damaged("inodes of %d bytes", s.inodeSize)
	case s.descSize < 32 || s.descSize > s.blockSize || s.incompat&incompat64Bit != 0 && s.descSize < 64:
		return damaged("group descriptors of %d bytes", s.descSize)
	}
	return nil
}

// groups is how many block groups there are.
func (s super) groups() uint64 {
	return (s.blocks - s.firstBlock + s.blocksPerGroup - 1) / s.blocksPerGroup
}

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrDamaged, fmt.Sprintf(format, args...))
}
