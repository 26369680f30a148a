package template

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
)

// legacy wraps blocks as the kernel's build does.
func legacy(size uint32, blocks ...[]byte) []byte {
	b := binary.LittleEndian.AppendUint32(nil, lz4LegacyMagic)
	for _, block := range blocks {
		b = binary.LittleEndian.AppendUint32(b, uint32(len(block)))
		b = append(b, block...)
	}
	return binary.LittleEndian.AppendUint32(b, size)
}

func TestUnlz4(t *testing.T) {
	long := append([]byte{0xf0, 255, 30}, bytes.Repeat([]byte{'x'}, 300)...) // 15 + 255 + 30 literals
	tests := []struct {
		name string
		in   []byte
		want string
		err  error
	}{
		{name: "literals", in: legacy(5, []byte("\x50hello")), want: "hello"},
		{name: "long literals", in: legacy(300, long), want: string(bytes.Repeat([]byte{'x'}, 300))},
		{name: "match", in: legacy(11, []byte("\x40abcd\x04\x00\x30xyz")), want: "abcdabcdxyz"},
		{name: "match that overlaps itself", in: legacy(24, []byte("\x1fa\x01\x00\x03\x10b")), want: "aaaaaaaaaaaaaaaaaaaaaaab"},
		{name: "two blocks", in: legacy(4, []byte("\x20ab"), []byte("\x20cd")), want: "abcd"},
		{name: "other compression", in: []byte("\xfd7zXZ\x00\x00\x00\x00"), err: errCompression},
		{name: "empty", err: errCompression},
		{name: "wrong size", in: legacy(6, []byte("\x50hello")), err: errLZ4},
		{name: "size beyond all limits", in: legacy(1<<31, []byte("\x50hello")), err: errLZ4},
		{name: "literals cut short", in: legacy(5, []byte("\x50hel")), err: errLZ4},
		{name: "length cut short", in: legacy(5, []byte("\xf0\xff")), err: errLZ4},
		{name: "match before the beginning", in: legacy(9, []byte("\x40abcd\x05\x00\x10x")), err: errLZ4},
		{name: "match at distance zero", in: legacy(9, []byte("\x40abcd\x00\x00\x10x")), err: errLZ4},
		{name: "match into the block before", in: legacy(9, []byte("\x40abcd"), []byte("\x00\x04\x00\x10x")), err: errLZ4},
		{name: "empty block", in: legacy(0, nil), err: errLZ4},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := unlz4(tt.in)
			if !errors.Is(err, tt.err) || string(got) != tt.want {
				t.Errorf("%q, %v, want %q, %v", got, err, tt.want, tt.err)
			}
		})
	}
}

func FuzzUnlz4(f *testing.F) {
	f.Add(legacy(11, []byte("\x40abcd\x04\x00\x30xyz")))
	f.Add(legacy(24, []byte("\x1fa\x01\x00\x03\x10b")))
	f.Fuzz(func(t *testing.T, b []byte) {
		if out, err := unlz4(b); err == nil && len(out) > 256*len(b) {
			t.Errorf("%d bytes out of %d", len(out), len(b))
		}
	})
}

func FuzzUncompress(f *testing.F) {
	f.Add(bzImageHead())
	f.Fuzz(func(_ *testing.T, b []byte) {
		_, _ = uncompress(b) // must not panic
	})
}
