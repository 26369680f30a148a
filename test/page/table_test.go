package page

import (
	"fmt"
	"log/slog"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"tapwatch/agent/events"
	"tapwatch/agent/httpapi"
	"tapwatch/agent/metrics"
	"tapwatch/agent/path"
	"tapwatch/agent/recorder"
)

// host is an API with as many sandboxes as are wanted: the table's size and its changes
// need no kernel. What an agent really says of one is in kill_test.go.
type host struct {
	url    string
	close  func()
	events events.Hub

	mu    sync.Mutex
	views []*path.Slot
	looks int
}

func (h *host) all() []*path.Slot {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]*path.Slot(nil), h.views...)
}

func (h *host) set(i int, s path.Slot) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.views[i] = &s
}

// latency grows by ten requests of 2 ms with each look.
func (h *host) latency(*path.Slot) (all []httpapi.HopTime) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.looks += 10
	for _, hop := range []path.Hop{path.Proxy, path.Relay, path.Tap, path.Envd} {
		all = append(all, httpapi.HopTime{Hop: hop, Requests: uint64(h.looks), Sum: 0.002 * float64(h.looks), Median: 0.002, P99: 0.004})
	}
	return all
}

func newHost(t *testing.T, sandboxes int) *host {
	t.Helper()
	h := &host{}
	for i := range sandboxes {
		h.views = append(h.views, nil)
		h.set(i, slot(i, path.OK))
	}
	for i := range 12 {
		h.views = append(h.views, &path.Slot{Facts: path.Facts{Netns: fmt.Sprintf("ns-%d", sandboxes+i)}, Diagnosis: path.Diagnosis{State: path.Idle}})
	}
	api, err := httpapi.New(httpapi.Config{
		Views: h.all,
		Slots: func() (all []path.Slot) {
			for _, s := range h.all() {
				all = append(all, *s)
			}
			return all
		},
		Metrics: func() metrics.Snapshot { return metrics.Snapshot{} },
		Events:  &h.events, Recorder: recorder.New(nil), Ready: func() error { return nil },
		Latency: h.latency,
		Host:    "worker-17", Version: "1.2.3", Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(api)
	h.close = sync.OnceFunc(func() { server.CloseClientConnections(); server.Close() })
	t.Cleanup(h.close)
	h.url = server.URL
	return h
}

// slot is one of a sandbox.
func slot(i int, state path.State) path.Slot {
	s := path.Slot{
		Facts: path.Facts{
			Netns: fmt.Sprintf("ns-%d", i),
			Sandbox: &path.Sandbox{ID: fmt.Sprintf("i%07d", i), Name: fmt.Sprintf("agent-run-%d", i), TemplateID: []string{"base", "code-interpreter", "desktop"}[i%3],
				Source: "e2b", Since: time.Now().Add(-time.Duration(i) * time.Minute)},
			Device: path.Device{Name: "tap0", Addr: "169.254.0.22/30", GuestAddr: "169.254.0.21"},
		},
		Diagnosis: path.Diagnosis{State: state},
	}
	for _, hop := range path.Hops {
		of := path.HopState{Hop: hop, State: path.OK, Detail: "answers"}
		if state == path.Broken && hop == path.Tap {
			of = path.HopState{Hop: hop, State: path.Broken, Detail: "NO-CARRIER: nobody holds it"}
		} else if state == path.Broken && hop != path.Proxy && hop != path.Relay {
			of = path.HopState{Hop: hop, State: path.Undecided, Detail: "not checked: the path is already broken at the tap"}
		}
		s.Diagnosis.Hops = append(s.Diagnosis.Hops, of)
	}
	if state == path.Broken {
		s.Diagnosis.Findings = []path.Finding{{Code: "vmm-exited", Hop: path.Tap, Severity: path.Critical, Since: time.Now(), Cause: "the VMM was killed by SIGKILL from bash (pid 42)",
			Evidence: []string{"the process is gone"}, Fix: "create the sandbox again"}}
	}
	return s
}

const row = `[...document.querySelectorAll(".row")].map(r => r.innerText)`

// TestThousands: 5,000 sandboxes are a table that scrolls, filters, sorts, and is used
// by keyboard; its state is in the address.
func TestThousands(t *testing.T) {
	h := newHost(t, 5000)
	for i := range 7 {
		h.set(i*700+3, slot(i*700+3, path.Broken))
	}
	b := browse(t)
	b.do(chromedp.Navigate(h.url))
	b.until(`document.querySelectorAll(".row").length > 10`)
	b.shot("light")
	if n := evaluate[int](b, `document.querySelectorAll(".row").length`); n > 100 {
		t.Errorf("%d rows are in the document", n)
	}
	if title := evaluate[string](b, "document.title"); title != "7 broken · Tapwatch worker-17" {
		t.Errorf("the title is %q", title)
	}
	if first := evaluate[[]string](b, row); len(first[0]) == 0 || evaluate[bool](b, `!document.querySelector(".row").classList.contains("broken")`) {
		t.Errorf("the first row is %q", first[0])
	}
	// By keyboard: to the end, and back to the first, which is opened.
	b.do(chromedp.Focus(".grid"), chromedp.KeyEvent(kb.End))
	b.until(`document.querySelector(".row.selected") && document.querySelector(".grid").getAttribute("aria-activedescendant") === "row-4999" && document.getElementById("row-4999")`)
	b.do(chromedp.KeyEvent(kb.Home), chromedp.KeyEvent(kb.ArrowDown), chromedp.KeyEvent(kb.Enter))
	b.until(`location.search === "?sandbox=i0000703" && document.querySelector("svg.path[data-state=broken]")`)
	b.shot("sandbox")
	b.do(chromedp.Click(".back a"))
	b.until(`document.querySelector(".row.selected")`)
	// Filters, in the address and from it.
	b.do(chromedp.SendKeys(".filters input", "run-47 desktop"))
	b.until(`location.search === "?q=run-47+desktop" && document.querySelectorAll(".row").length < 60 && document.querySelector(".filters [role=status]").innerText.includes("of 5000")`)
	b.do(chromedp.Navigate(h.url + "/?state=broken&hop=tap&code=vmm-exited&template=base&sort=name&dir=desc"))
	b.until(`document.querySelectorAll(".row").length > 0`)
	for _, text := range evaluate[[]string](b, row) {
		t.Log(text)
	}
	if n := evaluate[int](b, `document.querySelectorAll(".row").length`); n != 3 {
		t.Errorf("%d rows fit the filter", n)
	}
	b.do(chromedp.Navigate(h.url))
	b.until(`document.querySelectorAll(".row").length > 10`)
	for _, view := range []string{"/", "/?sandbox=i0000703"} {
		b.do(chromedp.Navigate(h.url + view))
		b.until(`document.querySelector(".row, svg.path")`)
		name := map[string]string{"/": "list", "/?sandbox=i0000703": "one"}[view]
		b.size(1280, 800, "dark")
		b.shot(name + "-dark")
		b.size(390, 844, "light")
		b.fits()
		b.shot(name + "-390")
		b.size(390, 844, "dark")
		b.shot(name + "-390-dark")
		b.size(1280, 800, "light")
	}
}

// TestNothingElseMoves: what changes is drawn, and what somebody is at stays.
func TestNothingElseMoves(t *testing.T) {
	h := newHost(t, 1000)
	b := browse(t)
	b.do(chromedp.Navigate(h.url + "/?sort=name"))
	b.until(`document.querySelectorAll(".row").length > 10`)
	b.do(chromedp.Click(".fold summary"), chromedp.Focus(".filters input"))
	b.do(chromedp.Evaluate(`document.querySelector(".grid").scrollTop = 3400; 1`, nil))
	b.until(`document.getElementById("row-105")`)
	b.do(chromedp.Evaluate(`window.was = document.getElementById("row-105"); was.click(); getSelection().selectAllChildren(was.querySelector(".c-name")); document.querySelector(".filters input").focus({preventScroll: true}); 1`, nil))
	b.until(`was.classList.contains("selected")`)
	for _, i := range []int{102, 103, 104, 999} {
		h.set(i, slot(i, path.Broken))
	}
	h.events.Publish(path.Event{Time: time.Now(), Kind: path.Problem, Netns: "ns-103", SandboxID: "i0000103", Text: "the VMM was killed"})
	b.until(`document.querySelector(".count.broken b").innerText === "4" && document.getElementById("row-104").classList.contains("broken")`)
	for what, js := range map[string]string{
		"scroll":    `document.querySelector(".grid").scrollTop === 3400`,
		"row":       `document.getElementById("row-105") === was && was.classList.contains("selected")`,
		"focus":     `document.activeElement === document.querySelector(".filters input")`,
		"panel":     `document.querySelector(".fold").open`,
		"selection": `getSelection().toString().includes("agent-run")`,
		"title":     `document.title.startsWith("4 broken")`,
		"icon":      `document.querySelector("link[rel=icon]").href.includes("cf222e")`,
	} {
		if !evaluate[bool](b, js) {
			t.Errorf("%s did not stay, or does not say it", what)
		}
	}
	b.until(`document.querySelector("[aria-live]").innerText === "4 sandboxes changed their state"`)
	b.shot("moved")
}

// TestLostAgent: without an agent the page says so, and takes nothing for true.
func TestLostAgent(t *testing.T) {
	h := newHost(t, 3)
	b := browse(t)
	b.do(chromedp.Navigate(h.url))
	b.until(`document.querySelectorAll(".row").length === 3`)
	b.until(`document.title.startsWith("3 ok")`)
	h.close()
	b.until(`document.title.startsWith("not connected") && document.querySelector("header [role=status]").innerText.includes("what you see is as of then")`)
	b.excuse("net::ERR_")
}

// TestPlots: what was seen while the page is open is drawn.
func TestPlots(t *testing.T) {
	h := newHost(t, 1)
	b := browse(t)
	b.do(chromedp.Navigate(h.url + "/?sandbox=i0000000"))
	b.until(`document.querySelectorAll(".plot canvas").length === 4 && document.querySelector(".plot [role=img]").getAttribute("aria-label").includes("last 2.0 ms")`)
	b.do(chromedp.Evaluate(`document.querySelector(".plots").scrollIntoView(); 1`, nil))
	b.shot("plots")
	b.size(390, 844, "light")
	b.fits()
}
