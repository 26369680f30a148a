package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"tapwatch/internal/e2b"
	"tapwatch/internal/nettest"
	"tapwatch/internal/registry"
)

func TestRecords(t *testing.T) {
	dir := registry.Dir(t.TempDir())
	resolve := NewRecords(dir, time.Second, func(string) {}).Resolve
	if _, err := resolve(t.Context(), "", 1); !errors.Is(err, ErrUnknownSandbox) {
		t.Error("no sandbox:", err)
	}
	for i, id := range []string{"", "one", "two"} { // the first slot is idle
		r := registry.Slot{Index: i + 1, VpeerIP: fmt.Sprintf("10.12.0.%d", 2*i+3)}
		if id != "" {
			r.Sandbox = &registry.Sandbox{ID: id}
		}
		if err := dir.Put(r); err != nil {
			t.Fatal(err)
		}
		if id == "one" {
			wantTarget(t, resolve, "", "one", "10.12.0.5:80")
		}
	}
	wantTarget(t, resolve, "one", "one", "10.12.0.5:80")
	wantTarget(t, resolve, "two", "two", "10.12.0.7:80")
	if _, err := resolve(t.Context(), "", 80); !errors.Is(err, ErrAmbiguous) {
		t.Error("two sandboxes:", err)
	}
	if _, err := resolve(t.Context(), "three", 80); !errors.Is(err, ErrUnknownSandbox) {
		t.Error("unknown:", err)
	}
}

func wantTarget(t *testing.T, resolve Resolver, id, wantID, addr string) {
	t.Helper()
	got, err := resolve(t.Context(), id, 80)
	if err != nil || got.SandboxID != wantID || got.Addr.String() != addr {
		t.Errorf("%q: %+v, %v, want %s at %s", id, got, err, wantID, addr)
	}
}

// A stream through a proxy that stands alone ends when the record of its sandbox
// goes, or is another sandbox's, and nobody asks for it again.
func TestConnectionsEndWithTheRecord(t *testing.T) {
	for name, change := range map[string]func(dir registry.Dir, s registry.Slot) error{
		"removed": func(dir registry.Dir, s registry.Slot) error {
			return errors.Join(dir.Remove(s.Index), os.RemoveAll(string(dir))) // as a launcher does with its last one
		},
		"slot is another's": func(dir registry.Dir, s registry.Slot) error {
			s.Sandbox = &registry.Sandbox{ID: "next"}
			return dir.Put(s)
		},
		"sandbox is elsewhere": func(dir registry.Dir, s registry.Slot) error {
			s.VpeerIP = "127.0.0.2"
			return dir.Put(s)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := registry.Dir(filepath.Join(t.TempDir(), "not", "there", "yet"))
			var p *Proxy
			records := NewRecords(dir, time.Second, func(id string) { p.Forget(id) })
			p, srv := newProxy(t, Config{Resolve: records.Resolve})
			running, stop := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- records.Run(running) }()
			backend := newBackend(t, func(w http.ResponseWriter, r *http.Request) {
				_ = http.NewResponseController(w).Flush() // the client judges
				<-r.Context().Done()
			})
			slot := registry.Slot{Index: 1, VpeerIP: "127.0.0.1", Sandbox: &registry.Sandbox{ID: "iabc", State: registry.Running}}
			if err := dir.Put(slot); err != nil {
				t.Fatal(err)
			}
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set(e2b.HeaderSandboxID, "iabc")
			req.Header.Set(e2b.HeaderSandboxPort, fmt.Sprint(backend.Port()))
			resp, err := srv.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if err := change(dir, slot); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadAll(resp.Body); err == nil { // returns when it is cut
				t.Error("the stream ended well")
			}
			stop()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
}

// A request for a sandbox that boots waits until it has.
func TestRecordsWaitForABoot(t *testing.T) {
	dir := registry.Dir(t.TempDir())
	slot := registry.Slot{Index: 1, VpeerIP: "127.0.0.1", Sandbox: &registry.Sandbox{ID: "iabc", State: registry.Booting}}
	if err := dir.Put(slot); err != nil {
		t.Fatal(err)
	}
	if got, err := NewRecords(dir, time.Millisecond, func(string) {}).Resolve(t.Context(), "iabc", 80); err != nil || got.Keep {
		t.Errorf("patience is over: %+v, %v", got, err)
	}
	records := NewRecords(dir, time.Hour, func(string) {})
	got := make(chan Target, 1)
	go func() {
		target, err := records.Resolve(t.Context(), "iabc", 80)
		if err != nil {
			t.Error(err)
		}
		got <- target
	}()
	nettest.Eventually(t, "the request waits", func() bool {
		_, _, err := records.find("iabc")
		return err == nil
	})
	booted := *slot.Sandbox
	booted.State = registry.Running
	slot.Sandbox = &booted
	if err := dir.Put(slot); err != nil {
		t.Fatal(err)
	}
	records.look()
	if target := <-got; !target.Keep {
		t.Errorf("%+v", target)
	}
}
