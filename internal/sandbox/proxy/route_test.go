package proxy

import (
	"strings"
	"testing"
)

func TestParseRoute(t *testing.T) {
	const id = "i0123456789abcdefghi"
	for _, c := range []struct {
		name, host, headerID, headerPort string
		origin                           string
		domain                           string
		wantID                           string
		wantPort                         int
		wantErr                          string
	}{
		{name: "nothing named", host: "localhost:49983", wantPort: 49983},
		{name: "headers", host: "localhost:49983", headerID: id, headerPort: "8080", wantID: id, wantPort: 8080},
		{name: "header id alone", host: "localhost", headerID: id, wantID: id, wantPort: 49983},
		{name: "header port alone", host: "localhost", headerPort: "8080", wantPort: 8080},
		{name: "host", host: "49983-" + id + ".e2b.test", wantID: id, wantPort: 49983},
		{name: "host with port", host: "8080-" + id + ".e2b.test:3002", wantID: id, wantPort: 8080},
		{name: "host in capitals", host: "8080-" + strings.ToUpper(id) + ".E2B.test", domain: "e2b.TEST", wantID: id, wantPort: 8080},
		{name: "host with final dot", host: "8080-" + id + ".e2b.test.", domain: "e2b.test", wantID: id, wantPort: 8080},
		{name: "headers before host", host: "1-other.e2b.test", headerID: id, headerPort: "2", wantID: id, wantPort: 2},
		{name: "host of our domain", host: "1-" + id + ".e2b.test", domain: "e2b.test", wantID: id, wantPort: 1},
		{name: "host of another domain", host: "1-" + id + ".evil.test", domain: "e2b.test", wantErr: "names no sandbox"},
		{name: "host of another domain with the id", host: "evil.test", domain: "e2b.test", headerID: id, wantID: id, wantPort: 49983},
		{name: "host below our domain", host: "1-" + id + ".x.e2b.test", domain: "e2b.test", wantPort: 49983},
		{name: "host without domain", host: "1-" + id, wantErr: "names no sandbox"},
		{name: "host that is a name with a dash", host: "my-host.test", wantErr: `host "my-host.test" names no sandbox`},
		{name: "rebound name", host: "evil.test:49983", wantErr: "names no sandbox"},
		{name: "our domain", host: "E2B.test.:49983", domain: "e2b.test", wantPort: 49983},
		{name: "page of this host", host: "127.0.0.1:49983", origin: "http://localhost:5173", wantPort: 49983},
		{name: "page of another host", host: "127.0.0.1:49983", origin: "https://evil.test", wantErr: `a page of "https://evil.test" must name a sandbox`},
		{name: "page of another address", host: "127.0.0.1:49983", origin: "http://10.1.2.3", wantErr: `a page of "http://10.1.2.3" must name a sandbox`},
		{name: "page of the address asked", host: "10.1.2.3:49983", origin: "http://10.1.2.3:49983", wantPort: 49983},
		{name: "page without origin", host: "127.0.0.1:49983", origin: "null", wantPort: 49983, wantErr: "must name a sandbox"},
		{name: "page of another host with the id", host: "localhost", headerID: id, origin: "https://evil.test", wantID: id, wantPort: 49983},
		{name: "host that is IPv6", host: "[::1]:49983", wantPort: 49983},
		{name: "no host", wantPort: 49983},
		{name: "port 0 in host", host: "0-" + id + ".e2b.test", wantErr: `"0" is no port`},
		{name: "port too large in host", host: "65536-" + id + ".e2b.test", wantErr: `"65536" is no port`},
		{name: "bad port in header", host: "localhost", headerID: id, headerPort: "http", wantErr: `header E2b-Sandbox-Port: "http" is no port`},
		{name: "negative port", host: "localhost", headerID: id, headerPort: "-1", wantErr: "is no port"},
		{name: "bad id", host: "localhost", headerID: "../../etc", wantErr: "is no sandbox id"},
		{name: "endless id", host: "localhost", headerID: strings.Repeat("a", 65), wantErr: "is no sandbox id"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := head{
				method: []byte("GET"), target: []byte("/"), host: []byte(c.host),
				id: []byte(c.headerID), port: []byte(c.headerPort), origin: []byte(c.origin),
			}
			id, port, err := parseRoute(&h, c.domain)
			if c.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), c.wantErr) {
					t.Fatalf("error %v, want %q", err, c.wantErr)
				}
				return
			}
			if id != c.wantID || port != c.wantPort || err != nil {
				t.Errorf("%q port %d, %v, want %q port %d", id, port, err, c.wantID, c.wantPort)
			}
		})
	}
}

// A target that is a whole URL names the host, whatever the header says.
func TestHostOfTarget(t *testing.T) {
	h, err := parseRequest([]byte("GET http://evil.test/ HTTP/1.1\r\nHost: localhost\r\n\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := parseRoute(&h, ""); err == nil || !strings.Contains(err.Error(), "evil.test") {
		t.Error(err)
	}
}

// Whatever comes: no panic, and an id and a port that are safe to use.
func FuzzParseRoute(f *testing.F) {
	f.Add("49983-iabc.e2b.test:80", "", "", "e2b.test")
	f.Add("localhost", "iabc", "49983", "")
	f.Add("[::1]:1", "", "0", ".")
	f.Fuzz(func(t *testing.T, host, headerID, headerPort, domain string) {
		h := head{method: []byte("GET"), host: []byte(host), id: []byte(headerID), port: []byte(headerPort)}
		id, port, err := parseRoute(&h, domain)
		if err == nil && (port < 1 || port > 65535 || id != "" && !validID(id)) {
			t.Errorf("%q port %d", id, port)
		}
	})
}
