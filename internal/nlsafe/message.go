// Package nlsafe speaks rtnetlink where an answer must be whole or be known not
// to be: dumps that a change interrupted are asked again, messages that did not
// fit are noticed, and what cannot be parsed is an error, never a guess.
package nlsafe

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// ErrMalformed is returned for bytes that are not netlink messages or attributes.
var ErrMalformed = errors.New("malformed netlink message")

// Header is struct nlmsghdr of include/uapi/linux/netlink.h, without its length.
type Header struct {
	Type  uint16
	Flags uint16
	Seq   uint32
	PID   uint32 // port of the socket that the message answers
}

// Message is one netlink message. Body does not include the header.
type Message struct {
	Header
	Body []byte
}

// Next splits the first message off b and returns what is left. The body is a
// part of b, not a copy.
func Next(b []byte) (m Message, rest []byte, err error) {
	if len(b) < unix.SizeofNlMsghdr {
		return m, nil, fmt.Errorf("%w: %d bytes of header", ErrMalformed, len(b))
	}
	n := int(binary.NativeEndian.Uint32(b))
	if n < unix.SizeofNlMsghdr || n > len(b) {
		return m, nil, fmt.Errorf("%w: length %d of %d", ErrMalformed, n, len(b))
	}
	m.Type = binary.NativeEndian.Uint16(b[4:])
	m.Flags = binary.NativeEndian.Uint16(b[6:])
	m.Seq = binary.NativeEndian.Uint32(b[8:])
	m.PID = binary.NativeEndian.Uint32(b[12:])
	m.Body = b[unix.SizeofNlMsghdr:n]
	return m, b[min(align(n), len(b)):], nil
}

// EachAttr calls fn for every attribute of b in turn, flags taken off its type,
// and stops at fn's first error.
func EachAttr(b []byte, fn func(typ uint16, value []byte) error) error {
	for len(b) > 0 {
		if len(b) < unix.SizeofNlAttr {
			return fmt.Errorf("%w: %d bytes of attribute", ErrMalformed, len(b))
		}
		n := int(binary.NativeEndian.Uint16(b))
		if n < unix.SizeofNlAttr || n > len(b) {
			return fmt.Errorf("%w: attribute length %d of %d", ErrMalformed, n, len(b))
		}
		typ := binary.NativeEndian.Uint16(b[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
		if err := fn(typ, b[unix.SizeofNlAttr:n]); err != nil {
			return err
		}
		b = b[min(align(n), len(b)):]
	}
	return nil
}

// AppendAttr adds an attribute, padded, to b.
func AppendAttr(b []byte, typ uint16, value []byte) []byte {
	n := unix.SizeofNlAttr + len(value)
	b = binary.NativeEndian.AppendUint16(b, uint16(n))
	b = binary.NativeEndian.AppendUint16(b, typ)
	b = append(b, value...)
	return append(b, make([]byte, align(n)-n)...)
}

// AppendUint32 adds an attribute that holds one number in the host's byte order.
func AppendUint32(b []byte, typ uint16, v uint32) []byte {
	return AppendAttr(b, typ, binary.NativeEndian.AppendUint32(nil, v))
}

// Uint32 reads an attribute that holds one number in the host's byte order.
func Uint32(v []byte) (uint32, error) {
	if len(v) < 4 {
		return 0, fmt.Errorf("%w: %d bytes of a number", ErrMalformed, len(v))
	}
	return binary.NativeEndian.Uint32(v), nil
}

// align rounds up to the four bytes that netlink pads to.
func align(n int) int { return (n + unix.NLMSG_ALIGNTO - 1) &^ (unix.NLMSG_ALIGNTO - 1) }
