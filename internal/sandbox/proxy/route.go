package proxy

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"tapwatch/internal/e2b"
)

const (
	maxIDLength = 64
	idLetters   = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
)

// parseRoute says which sandbox and port a request is for: by the headers, else
// by its Host, else "", the only sandbox. The error is for the client to read.
func parseRoute(h *head, domain string) (id string, port int, err error) {
	if string(h.method) == http.MethodConnect {
		return "", 0, errors.New("method CONNECT: this is no forward proxy")
	}
	port = e2b.EnvdPort
	if len(h.port) > 0 {
		if port, err = parsePort(string(h.port)); err != nil {
			return "", 0, fmt.Errorf("header %s: %w", e2b.HeaderSandboxPort, err)
		}
	}
	if len(h.id) > 0 {
		if id = string(h.id); !validID(id) {
			return "", 0, fmt.Errorf("header %s: %.80q is no sandbox id", e2b.HeaderSandboxID, id)
		}
		return id, port, nil
	}
	host := hostOf(h)
	if p, id, ok := splitHost(host, domain); ok {
		if port, err = parsePort(p); err != nil {
			return "", 0, fmt.Errorf("host %.80q: %w", host, err)
		}
		return id, port, nil
	}
	if !local(host, domain) {
		return "", 0, fmt.Errorf("host %.80q names no sandbox: name one by %s, or use an address or localhost", host, e2b.HeaderSandboxID)
	}
	if origin := string(h.origin); origin != "" {
		if u, err := url.Parse(origin); err != nil || u.Host == "" || !trusted(u.Host, host, domain) {
			return "", 0, fmt.Errorf("a page of %.80q must name a sandbox by %s", origin, e2b.HeaderSandboxID)
		}
	}
	return "", port, nil
}

// hostOf is the host that a request names: that of a target which is a whole URL
// stands above the header (RFC 9112, 3.2.2).
func hostOf(h *head) string {
	if len(h.target) > 0 && h.target[0]|0x20 == 'h' {
		if u, err := url.Parse(string(h.target)); err == nil {
			return u.Host
		}
	}
	return string(h.host)
}

// local reports whether nobody else's DNS can point a Host here, or whether a
// page is of such a host. A request for the only sandbox names nothing that is
// secret: any web page could have the browser send it.
func local(host, domain string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.ToLower(strings.Trim(host, "[]")), ".")
	if _, err := netip.ParseAddr(host); err == nil || host == "localhost" || host == "" { // HTTP/1.0 names no host
		return true
	}
	domain = strings.ToLower(domain)
	return domain != "" && (host == domain || strings.HasSuffix(host, "."+domain))
}

// trusted reports whether a page of a host may ask without naming a sandbox: one of
// this machine, of the host as it was asked for, or of the domain.
func trusted(page, asked, domain string) bool {
	if strings.EqualFold(page, asked) {
		return true
	}
	if name, _, err := net.SplitHostPort(page); err == nil {
		page = name
	}
	if a, err := netip.ParseAddr(strings.Trim(page, "[]")); err == nil {
		return a.IsLoopback()
	}
	return local(page, domain)
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
