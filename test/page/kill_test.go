package page

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"tapwatch/agent"
	"tapwatch/internal/nettest"
)

// vmmMark is set in the environment of a copy of the test binary that is a VMM.
const vmmMark = "TAPWATCH_TEST_VMM"

// TestMain lets a copy of the test binary be a VMM: it keeps the tap open that it was
// given until its input ends.
func TestMain(m *testing.M) {
	if os.Getenv(vmmMark) != "" {
		fmt.Println("running")
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// vmm starts a process that looks like Firecracker and holds a tap of a namespace.
func vmm(t *testing.T, ns, id string) *nettest.Child {
	t.Helper()
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), "firecracker")
	if err := os.WriteFile(program, self, 0o755); err != nil {
		t.Fatal(err)
	}
	tap := nettest.AttachTap(t, ns, "tap0")
	cmd := exec.Command(program, "--id", id, "--no-api")
	cmd.Env = append(os.Environ(), vmmMark+"=1")
	cmd.ExtraFiles = []*os.File{tap}
	c := nettest.Start(t, ns, cmd)
	tap.Close()
	c.Hears(t, "running")
	return c
}

// watch runs an agent until it is stopped or the test ends, and returns where its page is.
func watch(t *testing.T, cfg agent.Config) (url string, stop func()) {
	t.Helper()
	cfg.Listen, cfg.Log = "127.0.0.1:0", slog.New(slog.NewTextHandler(t.Output(), nil))
	if cfg.RunDir == "" {
		cfg.RunDir = t.TempDir()
	}
	a, err := agent.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return "http://" + a.Addr().String(), stop
}

// TestKill: a VMM that is killed is drawn at once, on the list and on its own page, with
// who killed it; and the next agent still knows it.
func TestKill(t *testing.T) {
	nettest.NeedRoot(t)
	ns := nettest.Netns(t)
	nettest.Tap(t, ns, "tap0")
	cfg := agent.Config{RunDir: t.TempDir(), HistoryDir: filepath.Join(t.TempDir(), "history")}
	url, stop := watch(t, cfg)
	v := vmm(t, ns, "sbx-killed")
	list, one := browse(t), browse(t)
	list.do(chromedp.Navigate(url))
	list.until(`[...document.querySelectorAll(".row")].some(r => r.innerText.includes("sbx-killed") && !r.classList.contains("broken"))`)
	one.do(chromedp.Navigate(url + "/?sandbox=sbx-killed"))
	one.until(`document.querySelector("svg.path .hop.ok") && [...document.querySelectorAll(".kind")].some(e => e.innerText === "bound")`)
	one.shot("before")
	began := time.Now()
	if err := exec.Command("sh", "-c", fmt.Sprintf("kill -KILL %d", v.Process.Pid)).Run(); err != nil {
		t.Fatal(err)
	}
	v.Stop() // it is waited for: no zombie
	one.until(`document.querySelector("svg.path[data-state=broken] .here")`)
	t.Logf("drawn %s after the kill, as far as this test's looks can tell", time.Since(began).Round(time.Millisecond))
	list.until(`/^[1-9]\d* broken/.test(document.title) && [...document.querySelectorAll(".row.broken")].some(r => r.innerText.includes("sbx-killed") && r.querySelector(".c-text").innerText.includes("the VMM has exited"))`)
	one.until(`document.querySelector(".finding.critical").innerText.includes("SIGKILL") && document.querySelector("main").innerText.includes("What went first: the VMM ended first")`)
	one.shot("after")
	one.do(chromedp.Evaluate(`document.querySelector(".timeline").scrollIntoView(); 1`, nil))
	one.shot("after-below")
	list.shot("list")
	one.do(chromedp.Navigate("about:blank"))
	list.do(chromedp.Navigate("about:blank"))
	stop()
	url, _ = watch(t, cfg)
	one.do(chromedp.Navigate(url + "/?sandbox=sbx-killed"))
	one.until(`[...document.querySelectorAll(".kind")].some(e => e.innerText === "vmm-exited") && document.querySelector("main").innerText.includes("What went first: the VMM ended first")`)
	one.shot("restarted")
	list.excuse("net::ERR_") // of a stream that ended with the agent
	one.excuse("net::ERR_")
}
