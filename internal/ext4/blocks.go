package ext4

import "fmt"

// Where the blocks of a file are: by extents, as ext4 has it, or by the block
// numbers of its forerunners.

const (
	extentMagic    = 0xF30A
	extentMaxDepth = 5
	extentSize     = 12 // of a node's header, an index and an extent alike
	extentInitMax  = 32768
)

// locate returns the block of the image that holds block n of the file; 0 is a
// hole. run is how many blocks from there on are alike, at least 1.
func (f *FS) locate(i *inode, n uint64) (block, run uint64, err error) {
	if i.flags&flagExtents == 0 {
		block, err = f.locateByNumber(i, n)
		return block, 1, err
	}
	if n >= 1<<32 {
		return 0, 0, damaged("inode %d: block %d of a file", i.number, n)
	}
	node, depth := i.block[:], -1
	for {
		count := int(le.Uint16(node[2:]))
		d := int(le.Uint16(node[6:]))
		if le.Uint16(node) != extentMagic || count > len(node)/extentSize-1 || d > extentMaxDepth || depth >= 0 && d != depth-1 {
			return 0, 0, damaged("inode %d: its extents make no sense", i.number)
		}
		depth = d
		entries := node[extentSize : extentSize*(1+count)]
		if depth == 0 {
			block, run = findExtent(entries, uint32(n))
			return block, run, nil
		}
		child, ok := findIndex(entries, uint32(n))
		if !ok {
			return 0, 1, nil
		}
		node = make([]byte, f.blockSize)
		if err := f.readBlock(node, child, 0); err != nil {
			return 0, 0, fmt.Errorf("extents of inode %d: %w", i.number, err)
		}
	}
}

// findIndex returns the child node that holds block n: the last that begins at or before it.
func findIndex(entries []byte, n uint32) (child uint64, ok bool) {
	for ; len(entries) >= extentSize; entries = entries[extentSize:] {
		if le.Uint32(entries) > n {
			break
		}
		child, ok = uint64(le.Uint32(entries[4:]))|uint64(le.Uint16(entries[8:]))<<32, true
	}
	return child, ok
}

// findExtent returns where block n is. A hole reaches to the next extent.
func findExtent(entries []byte, n uint32) (block, run uint64) {
	hole := uint64(1)
	for ; len(entries) >= extentSize; entries = entries[extentSize:] {
		first, length := le.Uint32(entries), uint64(le.Uint16(entries[4:]))
		if first > n {
			hole = max(hole, uint64(first-n))
			break
		}
		unwritten := length > extentInitMax
		if unwritten {
			length -= extentInitMax
		}
		within := uint64(n - first)
		if within >= length {
			continue
		}
		if unwritten {
			return 0, length - within
		}
		start := uint64(le.Uint32(entries[8:])) | uint64(le.Uint16(entries[6:]))<<32
		return start + within, length - within
	}
	return 0, hole
}

// locateByNumber follows the direct and up to three times indirect block numbers.
func (f *FS) locateByNumber(i *inode, n uint64) (uint64, error) {
	const direct = 12
	if n < direct {
		return uint64(le.Uint32(i.block[4*n:])), nil
	}
	n -= direct
	each := uint64(f.blockSize / 4) // numbers in a block
	span := each
	for level := range 3 {
		if n < span {
			return f.follow(uint64(le.Uint32(i.block[4*(direct+level):])), n, span/each)
		}
		n -= span
		span *= each
	}
	return 0, damaged("inode %d: a block beyond the largest file", i.number)
}

// follow reads one number of an indirect block, each of which spans that many
// blocks of the file, and so on down to the last level.
func (f *FS) follow(block, n, span uint64) (uint64, error) {
	for {
		if block == 0 {
			return 0, nil
		}
		b := make([]byte, 4)
		if err := f.readBlock(b, block, int64(n/span)*4); err != nil {
			return 0, fmt.Errorf("indirect block: %w", err)
		}
		block = uint64(le.Uint32(b))
		if span == 1 {
			return block, nil
		}
		n %= span
		span /= uint64(f.blockSize / 4)
	}
}
