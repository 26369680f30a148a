package capture

import (
	"bufio"
	"encoding/binary"
	"io"
	"slices"
)

// The blocks and options of a pcapng file that are used here
// (draft-ietf-opsawg-pcapng). No library that is to be had writes comments of frames.
const (
	blockSection    = 0x0a0d0d0a
	blockInterface  = 1
	blockStatistics = 5
	blockFrame      = 6

	optComment    = 1
	optName       = 2 // of an interface
	optWhat       = 3 // its description
	optResolution = 9
	optFlags      = 2 // of a frame
	optProgram    = 4 // of a section
	optMissed     = 5 // of the statistics: frames that were dropped for want of room

	linkEthernet = 1
	linkRaw      = 101
)

// WritePcapng writes the recording as a pcapng file: an interface a point, the direction
// of each frame, comments, and how many frames each point missed.
func (r *Recording) WritePcapng(w io.Writer, program string) error {
	out := bufio.NewWriter(w)
	e := binary.LittleEndian
	head := e.AppendUint32(nil, 0x1a2b3c4d)
	head = e.AppendUint16(head, 1) // version 1.0
	head = e.AppendUint16(head, 0)
	head = e.AppendUint64(head, ^uint64(0)) // length of the section: not said
	block(out, blockSection, head, text(optProgram, program))
	for _, p := range r.Points {
		link := uint16(linkEthernet)
		if !p.ethernet {
			link = linkRaw
		}
		body := e.AppendUint32(e.AppendUint16(e.AppendUint16(nil, link), 0), 0) // no limit of a frame's length
		block(out, blockInterface, body, text(optName, p.Name), text(optWhat, p.What), option{optResolution, []byte{9}})
	}
	for _, f := range r.Frames {
		at := uint64(f.At.UnixNano())
		body := e.AppendUint32(nil, uint32(f.Point))
		body = e.AppendUint32(e.AppendUint32(body, uint32(at>>32)), uint32(at))
		body = e.AppendUint32(e.AppendUint32(body, uint32(len(f.Data))), uint32(max(f.Length, len(f.Data))))
		body = append(body, padded(f.Data)...)
		direction := uint32(1)
		if f.Out {
			direction = 2
		}
		block(out, blockFrame, body, text(optComment, f.Comment), option{optFlags, e.AppendUint32(nil, direction)})
	}
	for i := range r.Points {
		at := uint64(r.Ended.UnixNano())
		body := e.AppendUint32(nil, uint32(i))
		body = e.AppendUint32(e.AppendUint32(body, uint32(at>>32)), uint32(at))
		block(out, blockStatistics, body, option{optMissed, e.AppendUint64(nil, uint64(r.Missed[i]))})
	}
	return out.Flush()
}

type option struct {
	code  uint16
	value []byte
}

// longestText bounds an option, whose length has 16 bits.
const longestText = 4096

func text(code uint16, s string) option { return option{code, []byte(s[:min(len(s), longestText)])} }

// block writes one block. An error stays with the writer until it is flushed.
func block(w *bufio.Writer, kind uint32, body []byte, options ...option) {
	e := binary.LittleEndian
	body = slices.Clone(body)
	for _, o := range options {
		if len(o.value) == 0 {
			continue
		}
		body = e.AppendUint16(e.AppendUint16(body, o.code), uint16(len(o.value)))
		body = append(body, padded(o.value)...)
	}
	body = e.AppendUint32(body, 0) // the end of options
	length := uint32(len(body) + 12)
	_, _ = w.Write(e.AppendUint32(e.AppendUint32(nil, kind), length))
	_, _ = w.Write(body)
	_, _ = w.Write(e.AppendUint32(nil, length))
}

// padded is a value up to a multiple of four bytes.
func padded(b []byte) []byte {
	return append(slices.Clone(b), make([]byte, (4-len(b)%4)%4)...)
}
