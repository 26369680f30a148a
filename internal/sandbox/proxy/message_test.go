package proxy

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestParseRequest(t *testing.T) {
	for _, c := range []struct {
		name, in, wantErr string
		length            int64
		chunked           bool
	}{
		{name: "plain", in: "GET / HTTP/1.1\r\nHost: a\r\n\r\n"},
		{name: "line feeds alone", in: "GET / HTTP/1.1\nHost: a\n\n"},
		{name: "body", in: "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", length: 5},
		{name: "body told twice", in: "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\ncontent-length: 5\r\n\r\n", length: 5},
		{name: "chunked", in: "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n", chunked: true},
		{name: "HTTP/1.0 without Host", in: "GET / HTTP/1.0\r\n\r\n"},
		{name: "nothing", in: "", wantErr: "not complete"},
		{name: "half a method", in: "GE", wantErr: "not complete"},
		{name: "half a head", in: "GET / HTTP/1.1\r\nHost: a\r\n", wantErr: "not complete"},
		{name: "ssh", in: "SSH-2.0-x\r\n", wantErr: "not HTTP"},
		{name: "tls", in: "\x16\x03\x01", wantErr: "not HTTP"},
		{name: "redis", in: "GET key\r\n", wantErr: "not HTTP"},
		{name: "rtsp", in: "OPTIONS rtsp://a RTSP/1.0\r\n\r\n", wantErr: "not HTTP"},
		{name: "HTTP/2", in: "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", wantErr: "not HTTP"},
		{name: "endless method", in: strings.Repeat("A", 40), wantErr: "not HTTP"},
		{name: "no Host", in: "GET / HTTP/1.1\r\n\r\n", wantErr: "must be one"},
		{name: "two Hosts", in: "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", wantErr: "must be one"},
		{name: "space in the target", in: "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", wantErr: "request line"},
		{name: "folded", in: "GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n 2\r\n\r\n", wantErr: "header"},
		{name: "space before the colon", in: "GET / HTTP/1.1\r\nHost: a\r\nContent-Length : 3\r\n\r\n", wantErr: "header"},
		{name: "bare CR", in: "GET / HTTP/1.1\r\nHost: a\rContent-Length: 3\r\n\r\n", wantErr: "header"},
		{name: "two lengths", in: "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", wantErr: "Content-Length"},
		{name: "length with a sign", in: "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n", wantErr: "Content-Length"},
		{name: "length and chunked", in: "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", wantErr: "cannot be told"},
		{name: "unknown coding", in: "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, x\r\n\r\n", wantErr: "cannot be told"},
		{name: "chunked in HTTP/1.0", in: "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", wantErr: "cannot be told"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, err := parseRequest([]byte(c.in))
			if c.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), c.wantErr) {
					t.Fatalf("error %v, want %q", err, c.wantErr)
				}
				return
			}
			if err != nil || h.length != c.length || h.chunked != c.chunked {
				t.Errorf("%+v, %v", h, err)
			}
		})
	}
}

func TestParseAnswer(t *testing.T) {
	for _, c := range []struct {
		name, in, wantErr string
		toHead            bool
		length            int64
		chunked           bool
	}{
		{name: "length", in: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", length: 2},
		{name: "to HEAD", in: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", toHead: true},
		{name: "no body", in: "HTTP/1.1 204 No Content\r\n\r\n"},
		{name: "no reason", in: "HTTP/1.1 304\r\n\r\n"},
		{name: "until the end", in: "HTTP/1.0 200 OK\r\n\r\n", length: toEnd},
		{name: "chunked", in: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", length: toEnd, chunked: true},
		{name: "continue", in: "HTTP/1.1 100 Continue\r\n\r\n"},
		{name: "half", in: "HTTP/1", wantErr: "not complete"},
		{name: "not HTTP", in: "SSH", wantErr: "begins with"},
		{name: "no number", in: "HTTP/1.1 abc OK\r\n\r\n", wantErr: "status line"},
		{name: "both lengths", in: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n", wantErr: "cannot be told"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, err := parseAnswer([]byte(c.in), c.toHead)
			if c.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), c.wantErr) {
					t.Fatalf("error %v, want %q", err, c.wantErr)
				}
				return
			}
			if err != nil || h.length != c.length || h.chunked != c.chunked {
				t.Errorf("%+v, %v", h, err)
			}
		})
	}
}

// However a chunked body is cut into pieces, its end is found where it is.
func TestChunksInPieces(t *testing.T) {
	const body = "5;x=y\r\nhello\r\nA\r\n0123456789\r\n0\r\nTrailer: t\r\n\r\n"
	const next = "GET / HTTP/1.1\r\n"
	for piece := 1; piece <= len(body+next); piece++ {
		if n, err := bodyLength([]byte(body+next), piece); n != len(body) || err != nil {
			t.Errorf("pieces of %d: the end is at %d, %v, want %d", piece, n, err, len(body))
		}
	}
	for _, bad := range []string{"x\r\n", "\r\n", "-1\r\n", "ffffffffffffffffff\r\n", strings.Repeat("0", 2*maxChunkLine)} {
		if _, err := bodyLength([]byte(bad), len(bad)); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("%.20q: %v", bad, err)
		}
	}
}

// bodyLength walks through b as a handler does that is shown so many bytes more
// each time. The error is io.EOF where b ends before the body.
func bodyLength(b []byte, piece int) (int, error) {
	var c chunks
	at, shown := 0, 0
	for {
		if shown = max(shown, at); shown >= len(b) {
			return at, io.EOF
		}
		shown = min(shown+piece, len(b))
		n, done, err := c.walk(b[at:shown])
		if err != nil || done {
			return at + int(n), err
		}
		if n > int64(len(b)) {
			return at, io.EOF
		}
		at += int(n)
		if n == 0 && shown == len(b) {
			return at, io.EOF
		}
	}
}

// Where we take a request, Go's own reader takes it too, and finds the same body.
func FuzzParseRequest(f *testing.F) {
	f.Add([]byte("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"))
	f.Add([]byte("POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"))
	f.Add([]byte("GET / HTTP/1.0\n\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := parseRequest(b)
		if err != nil {
			return
		}
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(b)))
		if err != nil {
			return // it is stricter, and so may a sandbox be
		}
		if want := r.ContentLength; h.chunked != (want < 0) || !h.chunked && h.length != want {
			t.Errorf("length %d, chunked %v; Go says %d", h.length, h.chunked, want)
		}
		if h.chunked {
			n, err := bodyLength(b[h.size:], len(b))
			_, goErr := io.Copy(io.Discard, r.Body)
			if goErr == nil && (err != nil || n > len(b)-h.size) {
				t.Errorf("Go finds the end, we do not: %v", err)
			}
		}
	})
}
