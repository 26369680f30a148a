package flowtest

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"os/exec"
	"strings"
	"testing"
)

// PoolingProxies understand what they carry: a request's back connection is any that
// is free, and the next request's another. All but the pools want HTTP.
func PoolingProxies() []Proxy {
	return []Proxy{
		{Name: "pool", Adversarial: true, command: ours("pool")},
		{Name: "pool-first", Adversarial: true, command: ours("pool", "-first")},
		{Name: "haproxy-http", Adversarial: true, command: haproxyHTTP},
		{Name: "nginx-http", Adversarial: true, command: nginxHTTP},
		{Name: "go-reverse", Adversarial: true, command: ours("reverse")},
	}
}

func haproxyHTTP(t testing.TB, listen, to netip.AddrPort) *exec.Cmd {
	return exec.Command(tool(t, "haproxy"), "-db", "-q", "-f", config(t, `
global
	nbthread 1
	maxconn 2000
listen path
	mode http
	http-reuse always
	bind %s
	server guest %s
	timeout connect 10s
	timeout client 5m
	timeout server 5m
`, listen, to))
}

func nginxHTTP(t testing.TB, listen, to netip.AddrPort) *exec.Cmd {
	return nginxWith(t, fmt.Sprintf(`
worker_processes 1;
http {
	access_log off;
	client_body_temp_path body;
	proxy_temp_path proxy;
	fastcgi_temp_path fastcgi;
	uwsgi_temp_path uwsgi;
	scgi_temp_path scgi;
	upstream guest {
		server %s;
		keepalive 100;
	}
	server {
		listen %s;
		location / {
			proxy_pass http://guest;
			proxy_http_version 1.1;
			proxy_set_header Connection "";
		}
	}
}
`, to, listen))
}

// reverseProxy is Go's own.
func reverseProxy(args []string) error {
	p := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: args[1]})
	p.Transport = &http.Transport{MaxIdleConnsPerHost: 100}
	return http.ListenAndServe(args[0], p)
}

// DialPooling opens connections to one of those, over which every request may be
// carried by another.
func DialPooling(t testing.TB, ns string, to netip.AddrPort, p Proxy, n int) []*Conn {
	t.Helper()
	conns := Dial(t, ns, to, n)
	for _, c := range conns {
		c.pooled, c.http = true, !strings.HasPrefix(p.Name, "pool")
	}
	return conns
}

// DialHTTP opens connections to a proxy that may pool, and wants HTTP.
func DialHTTP(t testing.TB, ns string, to netip.AddrPort, n int) []*Conn {
	t.Helper()
	return DialPooling(t, ns, to, Proxy{}, n)
}

// wrapRequest puts the messages that were appended to b from a length on into a request.
func wrapRequest(b []byte) []byte {
	return append(fmt.Appendf(nil, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n", len(b)), b...)
}

func wrapResponse(b []byte) []byte {
	return append(fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", len(b)), b...)
}

// unwrapRequest reads a request, if what comes is one.
func unwrapRequest(r *bufio.Reader) (*bufio.Reader, bool, error) {
	start, err := r.Peek(4)
	if err != nil || string(start) != "POST" {
		return r, false, err
	}
	q, err := http.ReadRequest(r)
	if err != nil {
		return nil, true, err
	}
	return bufio.NewReader(q.Body), true, nil
}

func unwrapResponse(r *bufio.Reader, into any) error {
	a, err := http.ReadResponse(r, nil)
	if err != nil {
		return err
	}
	defer a.Body.Close()
	if a.StatusCode != http.StatusOK {
		return fmt.Errorf("response %s", a.Status)
	}
	if err := read(bufio.NewReader(a.Body), into); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, a.Body)
	return err
}
