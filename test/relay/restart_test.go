package relay

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tapwatch/internal/proctest"
	"tapwatch/internal/registry"
)

// The proxy is replaced three times under load, its listening socket being held for
// it: no request fails, on new connections and on kept ones.
func TestProxyIsReplacedUnderLoad(t *testing.T) {
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }))
	defer backend.Close()
	to := netip.MustParseAddrPort(backend.Listener.Addr().String())
	dir := registry.Dir(filepath.Join(t.TempDir(), "run"))
	if err := dir.Put(registry.Slot{Index: 1, VpeerIP: to.Addr().String(), Sandbox: &registry.Sandbox{ID: "iabc", State: registry.Running}}); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	socket, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	running := startWith(t, socket, dir)
	stop, clients := make(chan struct{}), sync.WaitGroup{}
	var requests [4]atomic.Int64
	for i := range requests {
		clients.Go(func() {
			client := http.Client{Transport: &http.Transport{DisableKeepAlives: i%2 == 0}}
			defer client.CloseIdleConnections()
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := post(&client, l.Addr(), to.Port()); err != nil {
					t.Error(err)
					return
				}
				requests[i].Add(1)
			}
		})
	}
	for range 3 {
		next := startWith(t, socket, dir)
		more(t, &requests)
		running.Stop(t)
		more(t, &requests)
		running = next
	}
	close(stop)
	clients.Wait()
}

// startWith starts a proxy that is given its listening socket.
func startWith(t *testing.T, socket *os.File, dir registry.Dir) *proctest.Process {
	t.Helper()
	cmd := exec.Command("sh", "-c", `LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" "$@"`, tapwatch(t), "proxy", "--run-dir", string(dir), "--drain", "1m")
	cmd.ExtraFiles = []*os.File{socket}
	p := proctest.StartCmd(t, cmd)
	p.WaitFor(t, 0, "proxy listens on")
	return p
}

// more waits until every client has had a hundred more answers, or has failed.
func more(t *testing.T, requests *[4]atomic.Int64) {
	t.Helper()
	for i := range requests {
		for from := requests[i].Load(); requests[i].Load() < from+100 && !t.Failed(); {
			time.Sleep(time.Millisecond)
		}
	}
}

// post posts a POST, which nobody makes again where it fails.
func post(client *http.Client, at net.Addr, port uint16) error {
	req, err := http.NewRequest(http.MethodPost, "http://"+at.String(), strings.NewReader("hello"))
	if err != nil {
		return err
	}
	req.Header.Set("E2b-Sandbox-Id", "iabc")
	req.Header.Set("E2b-Sandbox-Port", fmt.Sprint(port))
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); string(b) != "hello" || err != nil {
		return fmt.Errorf("%s %q, %w", resp.Status, b, err)
	}
	return nil
}
