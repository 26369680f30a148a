package template

import (
	"encoding/binary"
	"errors"
)

const (
	lz4LegacyMagic = 0x184C2102
	lz4BlockMax    = 8 << 20 // of the legacy format, uncompressed
	lz4OutputMax   = 1 << 30 // no kernel is larger; bounds what foreign bytes can ask for
)

var errLZ4 = errors.New("damaged lz4 data")

// unlz4 reads the lz4 "legacy" format that the kernel's build uses, with the four
// bytes of uncompressed size that it appends.
// From lib/decompress_unlz4.c and lz4_Block_format.md.
func unlz4(b []byte) ([]byte, error) {
	if len(b) < 8 || binary.LittleEndian.Uint32(b) != lz4LegacyMagic {
		return nil, errCompression
	}
	size := binary.LittleEndian.Uint32(b[len(b)-4:])
	if size > lz4OutputMax || uint64(size) > 256*uint64(len(b)) { // a byte gives 255 at most
		return nil, errLZ4
	}
	out := make([]byte, 0, size)
	for b = b[4 : len(b)-4]; len(b) > 0; {
		if len(b) < 4 {
			return nil, errLZ4
		}
		n := uint64(binary.LittleEndian.Uint32(b))
		if n == 0 || n > uint64(len(b)-4) {
			return nil, errLZ4
		}
		var err error
		if out, err = lz4Block(out, b[4:4+n]); err != nil {
			return nil, err
		}
		b = b[4+n:]
	}
	if uint64(len(out)) != uint64(size) {
		return nil, errLZ4
	}
	return out, nil
}

// lz4Block appends one block's content to out. Matches may not reach behind the
// block's beginning, and the block may not grow beyond the format's limit.
func lz4Block(out, in []byte) ([]byte, error) {
	begin := len(out)
	for {
		if len(in) == 0 {
			return nil, errLZ4
		}
		token := in[0]
		literals, rest, err := lz4Length(token>>4, in[1:])
		if err != nil || literals > len(rest) || len(out)-begin+literals > lz4BlockMax {
			return nil, errLZ4
		}
		out = append(out, rest[:literals]...)
		in = rest[literals:]
		if len(in) == 0 {
			return out, nil // the last sequence is literals only
		}
		if len(in) < 2 {
			return nil, errLZ4
		}
		distance := int(binary.LittleEndian.Uint16(in))
		match, rest, err := lz4Length(token&15, in[2:])
		in = rest
		match += 4
		if err != nil || distance == 0 || distance > len(out)-begin || len(out)-begin+match > lz4BlockMax {
			return nil, errLZ4
		}
		out = lz4Copy(out, distance, match)
	}
}

// lz4Length reads a length whose first four bits are given.
func lz4Length(nibble byte, in []byte) (int, []byte, error) {
	n := int(nibble)
	if nibble < 15 {
		return n, in, nil
	}
	for i, b := range in {
		n += int(b)
		if b < 255 {
			return n, in[i+1:], nil
		}
	}
	return 0, nil, errLZ4
}

// lz4Copy repeats what lies distance bytes back; source and destination may overlap.
func lz4Copy(out []byte, distance, n int) []byte {
	from := len(out) - distance
	for n > 0 {
		k := min(n, len(out)-from)
		out = append(out, out[from:from+k]...)
		n -= k
	}
	return out
}
