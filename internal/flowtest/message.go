package flowtest

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"
)

// HeaderSize is the smallest message, in bytes: the rest is filling.
const HeaderSize = 64

var errNoMessage = errors.New("not a message of the test's: bytes were lost or mixed up")

const magic = 0x74617077

// Endpoint is an IPv4 address and port, as messages carry it.
type Endpoint struct {
	IP   [4]byte
	Port uint16
}

// AddrPort is the same for the rest of Go.
func (e Endpoint) AddrPort() netip.AddrPort { return netip.AddrPortFrom(netip.AddrFrom4(e.IP), e.Port) }

func endpoint(a net.Addr) Endpoint {
	ap := a.(*net.TCPAddr).AddrPort()
	return Endpoint{ap.Addr().Unmap().As4(), ap.Port()}
}

// Request is what a client asks. What is zero is taken for the least.
type Request struct {
	Size   uint32        // of this message in bytes
	Reply  uint32        // size of each message that answers it
	Chunks uint32        // how many do
	Gap    time.Duration // between two of those
	Async  bool          // further requests are answered while those are sent
	Delay  time.Duration // the server sleeps before the first

	Number uint32 // of the client's connection; set by Send, as is the next
	Client Endpoint
}

// Reply is one message that answers a request.
type Reply struct {
	Size   uint32
	Number uint32 // of the request
	Chunk  uint32 // from 0
	Slept  time.Duration

	Client      Endpoint // as the request said
	Peer, Local Endpoint // of the server's own connection
}

// appendMessage appends a message, of the least size at least.
func appendMessage(b []byte, size uint32, header any) ([]byte, error) {
	end := len(b) + int(max(size, HeaderSize))
	b = binary.LittleEndian.AppendUint32(b, magic)
	b, err := binary.Append(b, binary.LittleEndian, header)
	if err != nil {
		return nil, err
	}
	return append(b, make([]byte, end-len(b))...), nil
}

// read reads a message into a *Request or a *Reply, whose size it returns in full.
func read(r *bufio.Reader, header any) error {
	var b [HeaderSize]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return err
	}
	if binary.LittleEndian.Uint32(b[:]) != magic {
		return errNoMessage
	}
	if _, err := binary.Decode(b[4:], binary.LittleEndian, header); err != nil {
		return err
	}
	size := binary.LittleEndian.Uint32(b[4:]) // first in both
	if n, err := r.Discard(int(max(size, HeaderSize)) - HeaderSize); err != nil {
		return fmt.Errorf("%d bytes into a message of %d: %w", n+HeaderSize, size, err)
	}
	return nil
}
