package nlsafe

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

func message(typ, flags uint16, seq uint32, body []byte) []byte {
	b := binary.NativeEndian.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(body)))
	b = binary.NativeEndian.AppendUint16(b, typ)
	b = binary.NativeEndian.AppendUint16(b, flags)
	b = binary.NativeEndian.AppendUint32(b, seq)
	b = binary.NativeEndian.AppendUint32(b, 0)
	b = append(b, body...)
	return append(b, make([]byte, align(len(b))-len(b))...)
}

func TestNextSplitsMessages(t *testing.T) {
	b := append(message(16, 2, 7, []byte("abc")), message(17, 0, 8, nil)...)
	first, rest, err := Next(b)
	if err != nil || first.Type != 16 || first.Flags != 2 || first.Seq != 7 || string(first.Body) != "abc" {
		t.Fatalf("first %+v, %v", first, err)
	}
	second, rest, err := Next(rest)
	if err != nil || second.Type != 17 || len(second.Body) != 0 || len(rest) != 0 {
		t.Fatalf("second %+v, %d bytes left, %v", second, len(rest), err)
	}
}

func TestMalformed(t *testing.T) {
	whole := message(16, 0, 1, []byte("abcd"))
	for name, b := range map[string][]byte{
		"nothing":               {},
		"half a header":         whole[:8],
		"a body cut short":      whole[:18],
		"a length below header": append([]byte{8, 0, 0, 0}, whole[4:]...),
	} {
		if _, _, err := Next(b); !errors.Is(err, ErrMalformed) {
			t.Errorf("message, %s: %v", name, err)
		}
	}
	attr := AppendAttr(nil, 3, []byte("abcd"))
	for name, b := range map[string][]byte{
		"half a header":         attr[:2],
		"a value cut short":     attr[:6],
		"a length below header": append([]byte{2, 0}, attr[2:]...),
	} {
		err := EachAttr(b, func(uint16, []byte) error { return nil })
		if !errors.Is(err, ErrMalformed) {
			t.Errorf("attribute, %s: %v", name, err)
		}
	}
}

func TestAttributesSurviveTheRoundTrip(t *testing.T) {
	b := AppendAttr(nil, 3|unix.NLA_F_NESTED, []byte("odd"))
	b = AppendUint32(b, 4, 0xdeadbeef)
	var types []uint16
	err := EachAttr(b, func(typ uint16, v []byte) error {
		types = append(types, typ)
		switch typ {
		case 3:
			if string(v) != "odd" {
				t.Errorf("text %q", v)
			}
		case 4:
			if n, err := Uint32(v); n != 0xdeadbeef || err != nil {
				t.Errorf("number %x, %v", n, err)
			}
		}
		return nil
	})
	if err != nil || len(types) != 2 || types[0] != 3 || types[1] != 4 {
		t.Errorf("types %v, %v", types, err)
	}
}

func TestAnswer(t *testing.T) {
	code := func(e unix.Errno) []byte { return binary.NativeEndian.AppendUint32(nil, uint32(-int32(e))) }
	const dump, end = unix.RTM_NEWLINK, unix.NLMSG_DONE
	for name, c := range map[string]struct {
		in          []Message
		err         error
		messages    int
		ended, torn bool
	}{
		"a dump": {
			in:       []Message{{Header{Type: dump, Seq: 5}, nil}, {Header{Type: dump, Seq: 5}, nil}, {Header{Type: end, Seq: 5}, code(0)}},
			messages: 2, ended: true,
		},
		"a dump that a change cut": {
			in:       []Message{{Header{Type: dump, Seq: 5, Flags: unix.NLM_F_DUMP_INTR}, nil}, {Header{Type: end, Seq: 5}, code(0)}},
			messages: 1, ended: true, torn: true,
		},
		"a cut told at its end only": {
			in:    []Message{{Header{Type: end, Seq: 5, Flags: unix.NLM_F_DUMP_INTR}, code(0)}},
			ended: true, torn: true,
		},
		"a dump that failed at its end": {
			in:  []Message{{Header{Type: end, Seq: 5}, code(unix.ENODEV)}},
			err: unix.ENODEV, ended: true,
		},
		"a refusal": {
			in:  []Message{{Header{Type: unix.NLMSG_ERROR, Seq: 5}, code(unix.EPERM)}},
			err: unix.EPERM, ended: true,
		},
		"the answer to an earlier question": {
			in: []Message{{Header{Type: dump, Seq: 4}, nil}, {Header{Type: end, Seq: 4}, code(0)}},
		},
		"an error without its code": {
			in:  []Message{{Header{Type: unix.NLMSG_ERROR, Seq: 5}, nil}},
			err: ErrMalformed, ended: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := answer{seq: 5}
			var err error
			for _, m := range c.in {
				err = errors.Join(err, a.add(m))
			}
			if !errors.Is(err, c.err) || (err != nil) != (c.err != nil) {
				t.Errorf("error %v, want %v", err, c.err)
			}
			if len(a.messages) != c.messages || a.ended != c.ended || a.interrupted != c.torn {
				t.Errorf("got %+v", a)
			}
		})
	}
}

func FuzzNext(f *testing.F) {
	f.Add(append(message(16, 0, 1, AppendUint32(nil, 3, 4)), message(3, 0, 1, nil)...))
	f.Add([]byte{16, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		for len(b) > 0 {
			m, rest, err := Next(b)
			if err != nil {
				return
			}
			if len(rest) >= len(b) || len(m.Body) > len(b) {
				t.Fatalf("%d bytes left of %d", len(rest), len(b))
			}
			var again []byte
			if EachAttr(m.Body, func(typ uint16, v []byte) error {
				again = AppendAttr(again, typ, v)
				return nil
			}) == nil && len(again) != align(len(m.Body)) && !bytes.Equal(again, m.Body) {
				t.Fatalf("attributes of %d bytes, %d when written again", len(m.Body), len(again))
			}
			b = rest
		}
	})
}
