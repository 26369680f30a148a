package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"math"
)

// What parsing may say besides that a message is wrong.
var (
	errIncomplete = errors.New("the head is not complete")
	errNotHTTP    = errors.New("this is not HTTP/1")
)

// toEnd is the length of a body that ends with its connection.
const toEnd = -1

// head is what the proxy needs to know of a request's or an answer's head. Its
// slices are of the bytes that were parsed.
type head struct {
	size           int // in bytes, with the empty line
	method, target []byte
	status         int // of an answer

	host, origin, id, port []byte
	hosts                  int // how often Host was there
	length                 int64
	lengths                int
	chunked, coded         bool // by Transfer-Encoding: as the last, at all
	close, keep, upgrade   bool
	old                    bool // HTTP/1.0
}

// parseRequest reads a request's head. The error is errIncomplete where b does not
// hold all of it, errNotHTTP where b cannot be the beginning of one, and else for
// the client to read.
func parseRequest(b []byte) (h head, err error) {
	if !mayBeRequest(b) {
		return h, errNotHTTP
	}
	line, rest, whole := bytes.Cut(b, newline)
	if !whole {
		return h, errIncomplete
	}
	line = bytes.TrimSuffix(line, []byte("\r"))
	var version []byte
	if sp, last := bytes.IndexByte(line, ' '), bytes.LastIndexByte(line, ' '); sp > 0 && last > sp {
		h.method, h.target, version = line[:sp], line[sp+1:last], line[last+1:]
	}
	switch string(version) {
	case "HTTP/1.1":
	case "HTTP/1.0":
		h.old = true
	default:
		return h, errNotHTTP
	}
	if len(h.target) == 0 || bytes.ContainsAny(h.target, " \t\r\x00") {
		return h, fmt.Errorf("request line %.80q", line)
	}
	if err := h.parseFields(b, rest); err != nil {
		return h, err
	}
	switch {
	case h.hosts > 1, h.hosts == 0 && !h.old:
		return h, fmt.Errorf("%d headers Host: must be one", h.hosts)
	case h.coded && (h.lengths > 0 || h.old || !h.chunked):
		return h, errors.New("the length of the body cannot be told: Transfer-Encoding must be chunked, alone")
	case h.lengths == 0:
		h.length = 0
	}
	return h, nil
}

// mayBeRequest says whether b begins as a request does: METHOD and then a path, *
// or a URL. Other protocols either begin otherwise, or are HTTP/2, which does so
// on purpose and is told by its version.
func mayBeRequest(b []byte) bool {
	for i, c := range b {
		switch {
		case c >= 'A' && c <= 'Z' || (c == '-' || c == '_') && i > 0:
			if i == 32 {
				return false
			}
		case c == ' ' && i > 0:
			return i+1 == len(b) || bytes.IndexByte([]byte("/*hH"), b[i+1]) >= 0 || bytes.HasPrefix(b, []byte("CONNECT "))
		default:
			return false
		}
	}
	return true
}

// parseAnswer reads the head of an answer to a request of that method.
func parseAnswer(b []byte, toHead bool) (h head, err error) {
	const prefix = "HTTP/1."
	if n := min(len(b), len(prefix)); string(b[:n]) != prefix[:n] {
		return h, fmt.Errorf("it begins with %.20q", b)
	}
	line, rest, whole := bytes.Cut(b, newline)
	if !whole {
		return h, errIncomplete
	}
	if len(line) < 12 || line[8] != ' ' {
		return h, fmt.Errorf("status line %.80q", line)
	}
	h.old = line[7] == '0'
	for _, c := range line[9:12] {
		if c < '0' || c > '9' {
			return h, fmt.Errorf("status line %.80q", line)
		}
		h.status = 10*h.status + int(c-'0')
	}
	if err := h.parseFields(b, rest); err != nil {
		return h, err
	}
	switch {
	case toHead, h.status/100 == 1, h.status == 204, h.status == 304:
		h.length, h.chunked = 0, false
	case h.coded && h.lengths > 0:
		return h, errors.New("the length of the body cannot be told")
	case h.coded || h.lengths == 0:
		h.length = toEnd
	}
	return h, nil
}

var newline = []byte("\n")

// parseFields reads the header lines after the first one of b.
func (h *head) parseFields(b, rest []byte) error {
	for {
		line, after, whole := bytes.Cut(rest, newline)
		if !whole {
			return errIncomplete
		}
		rest = after
		line = bytes.TrimSuffix(line, []byte("\r"))
		if len(line) == 0 {
			h.size = len(b) - len(rest)
			return nil
		}
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok || len(name) == 0 || !isToken(name) || bytes.ContainsAny(value, "\r\x00") {
			return fmt.Errorf("header %.80q", line)
		}
		if err := h.field(name, bytes.Trim(value, " \t")); err != nil {
			return err
		}
	}
}

// field takes one header in, if it is of those that matter.
func (h *head) field(name, value []byte) error {
	is := func(want string) bool { return equalFold(name, want) }
	switch {
	case is("host"):
		h.host = value
		h.hosts++
	case is("origin") && h.origin == nil:
		h.origin = value
	case is("e2b-sandbox-id") && h.id == nil:
		h.id = value
	case is("e2b-sandbox-port") && h.port == nil:
		h.port = value
	case is("upgrade"):
		h.upgrade = true
	case is("connection"):
		h.connection(value)
	case is("transfer-encoding"):
		last := value[bytes.LastIndexByte(value, ',')+1:]
		h.chunked = equalFold(bytes.TrimSpace(last), "chunked") && (!h.coded || h.chunked)
		h.coded = true
	case is("content-length"):
		n, ok := parseLength(value)
		if !ok || h.lengths > 0 && n != h.length {
			return fmt.Errorf("header Content-Length: %.40q", value)
		}
		h.length = n
		h.lengths++
	}
	return nil
}

func (h *head) connection(value []byte) {
	for word := range bytes.SplitSeq(value, []byte(",")) {
		switch word = bytes.TrimSpace(word); {
		case equalFold(word, "close"):
			h.close = true
		case equalFold(word, "keep-alive"):
			h.keep = true
		}
	}
}

func parseLength(b []byte) (int64, bool) {
	if len(b) == 0 || len(b) > 18 { // below 2^63
		return 0, false
	}
	var n int64
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + int64(c-'0')
	}
	return n, true
}

// equalFold compares with a word in lower case.
func equalFold(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// isToken is RFC 9110's token.
func isToken(b []byte) bool {
	for _, c := range b {
		if c <= ' ' || c >= 0x7f || bytes.IndexByte([]byte("\"(),/:;<=>?@[\\]{}"), c) >= 0 {
			return false
		}
	}
	return true
}

// chunks finds the end of a chunked body.
type chunks struct{ trailer bool }

// walk says how many bytes, of b and of what follows it, can pass before it needs
// to see more, and whether the body ends with them. None: b is too short to tell.
func (c *chunks) walk(b []byte) (pass int64, done bool, err error) {
	for pass < int64(len(b)) {
		line, _, whole := bytes.Cut(b[pass:], newline)
		if !whole {
			if len(line) > maxChunkLine {
				return 0, false, fmt.Errorf("chunk %.40q: its line is too long", line)
			}
			return pass, false, nil
		}
		pass += int64(len(line)) + 1
		line = bytes.TrimSuffix(line, []byte("\r"))
		if c.trailer {
			if len(line) == 0 {
				return pass, true, nil
			}
			continue
		}
		size, err := parseSize(line)
		if err != nil {
			return 0, false, err
		}
		if c.trailer = size == 0; !c.trailer {
			pass += size + 2 // the line's end after it
		}
	}
	return pass, false, nil
}

const maxChunkLine = 8 << 10

// parseSize reads the line before a chunk: a size in hexadecimal, and extensions.
func parseSize(line []byte) (int64, error) {
	digits, _, _ := bytes.Cut(line, []byte(";"))
	digits = bytes.TrimRight(digits, " \t")
	var n int64
	for _, c := range digits {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return 0, fmt.Errorf("chunk %.40q", line)
		}
		if n > math.MaxInt64>>8 {
			return 0, fmt.Errorf("chunk %.40q: too large", line)
		}
		n = n<<4 | int64(c)
	}
	if len(digits) == 0 {
		return 0, fmt.Errorf("chunk %.40q", line)
	}
	return n, nil
}
