package proxy

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// The headers by which E2B's SDK names a sandbox.
const (
	headerID   = "E2b-Sandbox-Id"
	headerPort = "E2b-Sandbox-Port"
)

const (
	maxIDLength = 64
	idLetters   = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
)

// parseRoute says which sandbox and port a request is for: by the headers, else
// by its Host, else "", the only sandbox. The error is for the client to read.
func parseRoute(r *http.Request, domain string) (id string, port int, err error) {
	if r.Method == http.MethodConnect {
		return "", 0, fmt.Errorf("method CONNECT: this is no forward proxy")
	}
	port = DefaultPort
	if p := r.Header.Get(headerPort); p != "" {
		if port, err = parsePort(p); err != nil {
			return "", 0, fmt.Errorf("header %s: %w", headerPort, err)
		}
	}
	if id = r.Header.Get(headerID); id != "" {
		if !validID(id) {
			return "", 0, fmt.Errorf("header %s: %.80q is no sandbox id", headerID, id)
		}
		return id, port, nil
	}
	if p, id, ok := splitHost(r.Host, domain); ok {
		if port, err = parsePort(p); err != nil {
			return "", 0, fmt.Errorf("host %.80q: %w", r.Host, err)
		}
		return id, port, nil
	}
	return "", port, nil
}

// splitHost takes {port}-{id}.{domain}[:port] apart; ok says that it has this
// form. An empty domain means any.
func splitHost(host, domain string) (port, id string, ok bool) {
	host = strings.ToLower(host)
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		host = host[:i]
	}
	label, rest, dotted := strings.Cut(strings.TrimSuffix(host, "."), ".")
	if !dotted || domain != "" && rest != strings.ToLower(domain) {
		return "", "", false
	}
	port, id, ok = strings.Cut(label, "-")
	if !ok || port == "" || strings.Trim(port, "0123456789") != "" || !validID(id) {
		return "", "", false
	}
	return port, id, true
}

func parsePort(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%.20q is no port", s)
	}
	return int(n), nil
}

func validID(s string) bool {
	if s == "" || len(s) > maxIDLength {
		return false
	}
	for _, c := range []byte(s) {
		if !strings.ContainsRune(idLetters, rune(c)) {
			return false
		}
	}
	return true
}
