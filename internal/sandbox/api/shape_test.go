package api

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"tapwatch/internal/registry"
	"tapwatch/internal/sandbox"
	"tapwatch/internal/sandbox/network"
)

func TestShapes(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.FixedZone("", 3600))
	sb := sandbox.Sandbox{
		ID: "i1", TemplateID: "t1", Alias: "base", EnvdVersion: "0.5.7", AccessToken: "s3cret", State: registry.Failed,
		Reason: "why", CreatedAt: at, EndAt: at.Add(time.Minute), VCPUs: 1, MemoryMiB: 256, Slot: network.Slot{Index: 3}, Path: registry.DNAT,
	}
	own, theirs := &server{cfg: Config{Domain: "s.example"}}, &server{}
	foreign := sandbox.Sandbox{ID: "i2", TemplateID: "t2"} // a template with an envd of its own
	for name, tc := range map[string]struct {
		v    any
		want string
	}{
		"created": {own.createdOf(sb), `{"sandboxID":"i1","templateID":"t1","clientID":"tapwatch","envdVersion":"0.5.7","alias":"base","envdAccessToken":"s3cret","domain":"s.example"}`},
		"foreign": {theirs.createdOf(foreign), `{"sandboxID":"i2","templateID":"t2","clientID":"tapwatch","envdVersion":"0.4.0","domain":null}`},
		"listed": {listedOf(sb), `{"sandboxID":"i1","templateID":"t1","clientID":"tapwatch","alias":"base","envdVersion":"0.5.7","state":"failed",` +
			`"startedAt":"2026-01-02T02:04:05Z","endAt":"2026-01-02T02:05:05Z","cpuCount":1,"memoryMB":256,"metadata":{},"tapwatch":{"reason":"why","path":"dnat","netns":"ns-3","tap":"tap0"}}`},
		"detailed": {theirs.detailedOf(sb), `{"sandboxID":"i1","templateID":"t1","clientID":"tapwatch","alias":"base","envdVersion":"0.5.7","state":"failed",` +
			`"startedAt":"2026-01-02T02:04:05Z","endAt":"2026-01-02T02:05:05Z","cpuCount":1,"memoryMB":256,"metadata":{},"tapwatch":{"reason":"why","path":"dnat","netns":"ns-3","tap":"tap0"},"envdAccessToken":"s3cret","domain":null}`},
	} {
		if b, err := json.Marshal(tc.v); err != nil || string(b) != tc.want {
			t.Errorf("%s: %s, %v\nwant %s", name, b, err, tc.want)
		}
	}
}

func TestCreateRequest(t *testing.T) {
	var b createBody
	body := `{"templateID":"base","timeout":60,"metadata":{"a":"b"},"envVars":{"K":"v"},"secure":false,"autoPause":false,"mcp":null,"network":{},"tapwatch":{"name":"n","noNIC":true,"keep":true}}`
	if err := json.Unmarshal([]byte(body), &b); err != nil {
		t.Fatal(err)
	}
	got, err := b.request(true)
	if err != nil {
		t.Fatal(err)
	}
	if got.Template != "base" || got.Timeout != time.Minute || got.Metadata["a"] != "b" || got.EnvVars["K"] != "v" ||
		got.Secure || got.Name != "n" || !got.NoNIC || !got.Keep {
		t.Errorf("got %+v", got)
	}
	for _, secure := range []bool{true, false} { // v2 asks for a token unless told not to
		got, err := createBody{TemplateID: "base"}.request(secure)
		if err != nil || got.Secure != secure || got.Timeout != 300*time.Second {
			t.Errorf("got %+v, %v", got, err)
		}
	}
}

// A name is printed on people's terminals.
func TestNamesThatCannotBePrinted(t *testing.T) {
	for _, name := range []string{"a\nb", "\x1b[2J", "\u202e"} {
		b := createBody{TemplateID: "base"}
		b.Tapwatch.Name = name
		if _, err := b.request(false); statusOf(err) != http.StatusBadRequest {
			t.Errorf("%q: %v", name, err)
		}
	}
}
