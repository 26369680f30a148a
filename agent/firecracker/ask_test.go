package firecracker

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"tapwatch/agent/path"
)

const (
	// As Firecracker 1.10 answers.
	instance = `{"id":"anonymous-instance","state":"Running","vmm_version":"1.10.1","app_name":"Firecracker"}`
	config   = `{"balloon":null,"drives":[{"drive_id":"rootfs","path_on_host":"/rootfs.ext4"}],"boot-source":{"kernel_image_path":"/vmlinux.bin"},
		"machine-config":{"vcpu_count":2,"mem_size_mib":512,"smt":false},"network-interfaces":[{"iface_id":"eth0","host_dev_name":"tap0","guest_mac":"02:FC:00:00:00:05","rx_rate_limiter":null}],"vsock":null,"entropy":null}`
)

// serve answers at a unix socket of this process until the test's end.
func serve(t *testing.T, socket string, h http.HandlerFunc) {
	t.Helper()
	ln, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute}
	go func() { _ = s.Serve(ln) }()
	t.Cleanup(func() { s.Close() })
}

func answers(instance, config string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method != http.MethodGet:
			w.WriteHeader(http.StatusBadRequest)
		case r.URL.Path == "/":
			fmt.Fprint(w, instance)
		case r.URL.Path == "/vm/config":
			fmt.Fprint(w, config)
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}
}

func TestAsk(t *testing.T) {
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		want    string // of the state, or of the error
	}{
		"a Firecracker":               {answers(instance, config), path.VMMRunning},
		"paused":                      {answers(`{"state":"Paused"}`, config), path.VMMPaused},
		"not started":                 {answers(`{"state":"Not started"}`, `{"machine-config":{}}`), path.VMMNotStarted},
		"a state that nobody knows":   {answers(`{"state":"On fire"}`, config), "not the answer of a Firecracker"},
		"no state":                    {answers(`{}`, config), "not the answer of a Firecracker"},
		"no JSON":                     {answers(`<html>`, config), "GET /: no JSON"},
		"another JSON":                {answers(`[1]`, config), "not the answer of a Firecracker"},
		"a configuration of none":     {answers(instance, `{}`), "not the configuration of a Firecracker"},
		"interfaces of another kind":  {answers(instance, `{"machine-config":{},"network-interfaces":{"a":1}}`), "not the answer of a Firecracker"},
		"a MAC that is none":          {answers(instance, strings.Replace(config, "02:FC", "no", 1)), "a guest_mac that is none"},
		"a device that is a screen's": {answers(instance, strings.Replace(config, "tap0", `tap\u001b[2J`, 1)), "an interface without a name"},
		"an answer without end":       {func(w http.ResponseWriter, _ *http.Request) { endless(w) }, "an answer of more than"},
		"a header without end":        {func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", 1<<20)) }, "server response headers exceeded"},
		"a refusal":                   {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadRequest) }, "GET /: status 400"},
		"a redirection": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://192.0.2.1/", http.StatusFound)
		}, "GET /: status 302"},
		"paused, and it begins to write a snapshot": {func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/" {
				<-r.Context().Done()
				return
			}
			fmt.Fprint(w, `{"state":"Paused"}`)
		}, "Pausedno answer in 1s"},
		"nothing, within the patience":   {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "no answer in 1s"},
		"a drop at a time, without end":  {func(w http.ResponseWriter, r *http.Request) { drip(w, r) }, "no answer in 1s"},
		"a connection that breaks off":   {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "EOF"},
		"more interfaces than there are": {answers(instance, `{"machine-config":{},"network-interfaces":[`+strings.Repeat(`{"iface_id":"a","host_dev_name":"b"},`, 99)+`{}]}`), "not the configuration of a Firecracker"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			socket := filepath.Join(t.TempDir(), "s")
			serve(t, socket, c.handler)
			api := Ask(t.Context(), os.Getpid(), socket)
			if got := api.State + api.Error; !strings.Contains(got, c.want) {
				t.Fatalf("got %q, want %q", got, c.want)
			}
			if api.Time.IsZero() || api.Socket != socket || api.Gone || api.Error == "" && api.State == "" || (api.Interfaces == nil) != (api.Error != "") {
				t.Errorf("got %+v", api)
			}
			silent := slices.Contains([]string{"no answer in 1s", "Pausedno answer in 1s", "EOF", "server response headers exceeded"}, c.want)
			if want := api.Error != "" && !silent; api.Answered != want {
				t.Errorf("answered: %v, want %v", api.Answered, want)
			}
		})
	}
}

func endless(w http.ResponseWriter) {
	for b := make([]byte, 4096); ; {
		if _, err := w.Write(b); err != nil {
			return
		}
	}
}

func drip(w http.ResponseWriter, r *http.Request) {
	for r.Context().Err() == nil {
		fmt.Fprint(w, " ")
		_ = http.NewResponseController(w).Flush() // the asker has gone
		time.Sleep(10 * time.Millisecond)
	}
}

func TestAskReadsTheInterfaces(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	serve(t, socket, answers(instance, config))
	api := Ask(t.Context(), os.Getpid(), socket)
	if len(api.Interfaces) != 1 || api.Interfaces[0] != (path.VMMInterface{ID: "eth0", Device: "tap0", GuestMAC: "02:fc:00:00:00:05"}) {
		t.Errorf("got %+v", api)
	}
}

// Nobody there is told from another one who is.
func TestAskNobody(t *testing.T) {
	gone := filepath.Join(t.TempDir(), "gone")
	if api := Ask(t.Context(), os.Getpid(), gone); !api.Gone || api.Error != "the socket is not there" {
		t.Errorf("no socket: %+v", api)
	}
	left := filepath.Join(t.TempDir(), "left")
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: left, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	ln.SetUnlinkOnClose(false)
	ln.Close()
	if api := Ask(t.Context(), os.Getpid(), left); !api.Gone || api.Error != "nobody listens at the socket" {
		t.Errorf("a socket that was left: %+v", api)
	}
	others := filepath.Join(t.TempDir(), "others")
	serve(t, others, answers(instance, config))
	if api := Ask(t.Context(), os.Getppid(), others); api.Gone || api.State != "" || !strings.Contains(api.Error, "the socket is another process's") {
		t.Errorf("another process's: %+v", api)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if api := Ask(ctx, os.Getpid(), others); api.Error == "" || api.Gone {
		t.Errorf("when all is over: %+v", api)
	}
}

// A path of any length is one, from the process's own directory too.
func TestAskWhereItSeesTheSocket(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	serve(t, "s.sock", answers(instance, config))
	long := filepath.Join(dir, strings.Repeat("x", 100), strings.Repeat("y", 100))
	if err := os.MkdirAll(long, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename("s.sock", filepath.Join(long, "s.sock")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(long, "s.sock"), "link.sock"); err != nil {
		t.Fatal(err)
	}
	for _, socket := range []string{filepath.Join(long, "s.sock"), "link.sock"} {
		if api := Ask(t.Context(), os.Getpid(), socket); api.State != path.VMMRunning {
			t.Errorf("%s: %+v", socket, api)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(instance))
	f.Add([]byte(config))
	f.Fuzz(func(t *testing.T, b []byte) {
		if state, err := parseInstance(b); (err == nil) != (state != "") {
			t.Errorf("%q, %v", state, err)
		}
		list, err := parseConfig(b)
		if (err == nil) != (list != nil) {
			t.Errorf("%v, %v", list, err)
		}
		for _, i := range list {
			if i.ID == "" || i.Device == "" || strings.ContainsAny(i.ID+i.Device+i.GuestMAC, "\x1b\n \x00") {
				t.Errorf("%+v", i)
			}
		}
	})
}
