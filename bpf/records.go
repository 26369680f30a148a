package bpf

import (
	"errors"
	"fmt"
	"io"
	"unsafe"
)

// recordsAtOnce is how many records are read by one call at most.
const recordsAtOnce = 512

// Records reads what an iterator writes, one record after the other, straight into the
// generated struct: T must be one, so that it lies in memory as the kernel writes it.
// Records calls fn with each; fn must not keep the pointer, since later records are read
// into the same memory. A record that is cut is an error.
func Records[T any](r io.Reader, fn func(*T)) error {
	room := make([]T, recordsAtOnce)
	size := int(unsafe.Sizeof(room[0]))
	raw := unsafe.Slice((*byte)(unsafe.Pointer(&room[0])), len(room)*size)
	for {
		n, err := io.ReadFull(r, raw)
		for i := range n / size {
			fn(&room[i])
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, io.ErrUnexpectedEOF) && n%size == 0:
			return nil
		case err != nil:
			return fmt.Errorf("read record of %d bytes: %w", size, err)
		}
	}
}
