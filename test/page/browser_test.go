package page

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"tapwatch/internal/nettest"
)

// patience is for what is only waited for.
const patience = time.Minute

// tab is a page that is open in a browser. What the browser complains of fails the test.
type tab struct {
	t   *testing.T
	ctx context.Context
	mu  sync.Mutex
	bad []string

	excused []string
}

// browse opens a tab in a browser of its own.
func browse(t *testing.T) *tab {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		nettest.Unfit(t, "chromium is not installed")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.WSURLReadTimeout(patience))
	alloc, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, end := chromedp.NewContext(alloc)
	b := &tab{t: t, ctx: ctx}
	t.Cleanup(func() {
		end()
		cancel()
		for _, what := range b.bad {
			if slices.ContainsFunc(b.excused, func(part string) bool { return strings.Contains(what, part) }) {
				continue
			}
			t.Errorf("the browser complains: %s", what)
		}
	})
	chromedp.ListenTarget(ctx, func(ev any) {
		b.mu.Lock()
		defer b.mu.Unlock()
		switch e := ev.(type) {
		case *runtime.EventExceptionThrown:
			b.bad = append(b.bad, e.ExceptionDetails.Error())
		case *log.EventEntryAdded:
			if e.Entry.Level == log.LevelError || e.Entry.Level == log.LevelWarning {
				b.bad = append(b.bad, e.Entry.Text+" "+e.Entry.URL)
			}
		case *runtime.EventConsoleAPICalled:
			if e.Type == runtime.APITypeError || e.Type == runtime.APITypeWarning {
				b.bad = append(b.bad, fmt.Sprintf("console: %s", e.Args[0].Value))
			}
		}
	})
	b.do(log.Enable())
	b.size(1280, 800, "light")
	return b
}

func (b *tab) do(actions ...chromedp.Action) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	// The first context of chromedp is the browser's life: it must not be one that ends.
	if chromedp.FromContext(b.ctx).Browser == nil {
		ctx = b.ctx
	}
	defer cancel()
	if err := chromedp.Run(ctx, actions...); err != nil {
		b.t.Fatal(err)
	}
}

func (b *tab) size(width, height int64, scheme string) {
	b.t.Helper()
	b.do(emulation.SetDeviceMetricsOverride(width, height, 1, false),
		emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}))
}

// evaluate is what an expression of JavaScript gives, which may be a promise.
func evaluate[T any](b *tab, js string) (v T) {
	b.t.Helper()
	b.do(chromedp.Evaluate(js, &v, func(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithAwaitPromise(true) }))
	return v
}

// until waits until an expression is true.
func (b *tab) until(js string) {
	b.t.Helper()
	for late := time.Now().Add(patience); !evaluate[bool](b, "!!("+js+")"); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(late) {
			b.shot("late")
			b.t.Fatalf("never true: %s\nthe page:\n%s", js, evaluate[string](b, "document.body.innerText"))
		}
	}
}

// shot keeps a picture where TAPWATCH_TEST_SCREENSHOTS says, under the test's name.
func (b *tab) shot(name string) {
	b.t.Helper()
	dir := os.Getenv("TAPWATCH_TEST_SCREENSHOTS")
	if dir == "" {
		return
	}
	var png []byte
	b.do(chromedp.CaptureScreenshot(&png))
	name = strings.ReplaceAll(b.t.Name(), "/", "-") + "-" + name + ".png"
	if err := os.WriteFile(filepath.Join(dir, name), png, 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// fits fails where the page scrolls sideways.
func (b *tab) fits() {
	b.t.Helper()
	if wide := evaluate[int](b, "document.scrollingElement.scrollWidth - innerWidth"); wide > 0 {
		b.t.Errorf("the page is %d px wider than the window", wide)
	}
}

// excuse takes complaints with this in them for what the test brings about; the browser
// may be late with them.
func (b *tab) excuse(part string) { b.excused = append(b.excused, part) }
