package network

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"tapwatch/internal/netns"
	"tapwatch/internal/nettest"
	"tapwatch/internal/proc"
	"tapwatch/internal/registry"
)

// TestMain lets this test binary be a second launcher on the host.
func TestMain(m *testing.M) {
	if os.Getenv("TAPWATCH_TEST_LAUNCHER") != "" {
		launch()
		return
	}
	os.Exit(m.Run())
}

// launch acquires slots, prints them and holds them until its input ends.
func launch() {
	first, _ := strconv.Atoi(os.Args[2])
	count, _ := strconv.Atoi(os.Args[3])
	p, err := NewPool(PoolConfig{Registry: registry.Dir(os.Args[1]), First: first})
	for i := 0; i < count && err == nil; i++ {
		var s Slot
		if s, err = p.Acquire(context.Background()); err == nil {
			fmt.Println(s.Index)
		}
	}
	if err != nil {
		fmt.Println("error:", err)
		return
	}
	fmt.Println("done")
	_, _ = os.Stdin.Read(make([]byte, 1))
	if err := p.Close(); err != nil {
		fmt.Println("error:", err)
	}
}

func newPool(t *testing.T, dir registry.Dir, idle, first int) *Pool {
	t.Helper()
	p, err := NewPool(PoolConfig{Registry: dir, Idle: idle, First: first})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func acquire(t *testing.T, p *Pool) Slot {
	t.Helper()
	s, err := p.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func wantIdle(t *testing.T, p *Pool, n int) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for p.Idle() != n {
		if time.Now().After(deadline) {
			t.Fatalf("%d slots are idle, want %d", p.Idle(), n)
		}
		time.Sleep(time.Millisecond)
	}
}

func TestPoolKeepsItselfFilled(t *testing.T) {
	first, dir := freeSlot(t), registry.Dir(t.TempDir())
	p := newPool(t, dir, 3, first.Index)
	wantIdle(t, p, 3)
	taken := acquire(t, p)
	if taken != first {
		t.Errorf("got slot %d, the oldest is %d", taken.Index, first.Index)
	}
	wantIdle(t, p, 3)
	records := recordsOf(t, dir)
	if len(records) != 4 {
		t.Fatalf("%d records for 4 slots", len(records))
	}
	for _, r := range records {
		cookie, err := netns.CookieOf(r.Netns)
		if err != nil || cookie != r.Cookie || r.Owner.PID != os.Getpid() || !r.Owner.Alive() || r.Sandbox != nil {
			t.Errorf("record %+v of a namespace with cookie %d, %v", r, cookie, err)
		}
	}
	if err := p.Release(taken); err != nil {
		t.Fatal(err)
	}
	if err := free(taken); err != nil {
		t.Error("after release:", err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if left := recordsOf(t, dir); len(left) != 0 {
		t.Errorf("records left: %+v", left)
	}
	for _, r := range records {
		if err := free(Slot{r.Index}); err != nil {
			t.Error("after close:", err)
		}
	}
	if _, err := p.Acquire(t.Context()); !errors.Is(err, ErrClosed) {
		t.Error("acquire from a closed pool:", err)
	}
}

func TestBindIsRecorded(t *testing.T) {
	first, dir := freeSlot(t), registry.Dir(t.TempDir())
	p := newPool(t, dir, 0, first.Index)
	s := acquire(t, p)
	for _, want := range []*registry.Sandbox{{ID: "i1", State: registry.Booting}, {ID: "i1", State: registry.Running}, nil} {
		if err := p.Bind(s, want); err != nil {
			t.Fatal(err)
		}
		got := recordsOf(t, dir)[0]
		if got.Cookie == 0 || (got.Sandbox == nil) != (want == nil) || want != nil && got.Sandbox.State != want.State {
			t.Errorf("bound to %+v, recorded %+v", want, got)
		}
	}
	if err := p.Bind(Slot{1}, nil); err == nil {
		t.Error("bound a slot that was never acquired")
	}
}

// Indexes that others have are passed over, whether by a namespace, or by the
// record of a live or a dead launcher; what stands there is left alone.
func TestPoolSkipsWhatIsOthers(t *testing.T) {
	first, dir := freeRun(t, 4), registry.Dir(t.TempDir())
	foreign := Slot{first.Index}
	if err := netns.Create(foreign.Netns()); err != nil {
		t.Fatal(err)
	}
	if err := dir.Put(Slot{first.Index + 1}.Record(proc.Process{PID: 1, Start: 1})); err != nil {
		t.Fatal(err)
	}
	p := newPool(t, dir, 0, first.Index)
	if s := acquire(t, p); s.Index != first.Index+2 {
		t.Errorf("got slot %d of %d", s.Index, first.Index)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := netns.CookieOf(foreign.Netns()); err != nil {
		t.Error("a namespace of others is gone:", err)
	}
	if left := recordsOf(t, dir); len(left) != 1 {
		t.Errorf("records %+v", left)
	}
}

func TestBrokenIdleSlotIsReplaced(t *testing.T) {
	first, dir := freeSlot(t), registry.Dir(t.TempDir())
	p := newPool(t, dir, 1, first.Index)
	wantIdle(t, p, 1)
	if err := netns.Delete(first.Netns()); err != nil {
		t.Fatal(err)
	}
	if err := netns.Create(first.Netns()); err != nil { // another's now
		t.Fatal(err)
	}
	s := acquire(t, p)
	if s == first {
		t.Error("got the broken slot")
	}
	if _, err := netns.CookieOf(first.Netns()); err != nil {
		t.Error("the namespace that took its place is gone:", err)
	}
}

// Two processes and many goroutines never get the same slot.
func TestLaunchersDoNotCollide(t *testing.T) {
	first, dir := freeRun(t, 24), t.TempDir()
	lists := make([][]string, 2)
	var wg sync.WaitGroup
	for i := range lists {
		wg.Go(func() { lists[i] = otherLauncher(t, dir, first.Index, 8) })
	}
	p := newPool(t, registry.Dir(dir), 2, first.Index)
	var mine sync.Map
	for range 6 {
		wg.Go(func() {
			s, err := p.Acquire(t.Context())
			if _, twice := mine.LoadOrStore(strconv.Itoa(s.Index), true); err != nil || twice {
				t.Errorf("slot %d twice in this process, %v", s.Index, err)
			}
		})
	}
	wg.Wait()
	for _, list := range lists {
		if len(list) != 8 {
			t.Fatalf("the other launcher got %q", list)
		}
		for _, index := range list {
			if _, twice := mine.LoadOrStore(index, true); twice {
				t.Errorf("slot %s was given twice", index)
			}
		}
	}
}

// otherLauncher returns the slots that a launcher process of its own acquired;
// it releases them at the test's end.
func otherLauncher(t *testing.T, dir string, first, count int) (slots []string) {
	cmd := exec.Command("/proc/self/exe", dir, strconv.Itoa(first), strconv.Itoa(count))
	cmd.Env = append(os.Environ(), "TAPWATCH_TEST_LAUNCHER=1")
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2, cmd.Start()); err != nil {
		t.Error(err)
		return nil
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if lines.Text() == "done" {
			return slots
		}
		if strings.HasPrefix(lines.Text(), "error:") {
			t.Error(lines.Text())
		}
		slots = append(slots, lines.Text())
	}
	return slots
}

// freeRun returns the first of n slots in a row whose names nobody has, and
// removes what is there at the test's end.
func freeRun(t *testing.T, n int) Slot {
	t.Helper()
	nettest.NeedRoot(t)
next:
	for range 100 {
		first := freeSlot(t)
		for i := range n {
			if (Slot{first.Index + i}).validate() != nil || free(Slot{first.Index + i}) != nil {
				continue next
			}
		}
		for i := range n {
			t.Cleanup(func() {
				if err := Remove(Slot{first.Index + i}); err != nil {
					t.Error(err)
				}
			})
		}
		return first
	}
	t.Fatal("no free slots found")
	return Slot{}
}

func recordsOf(t *testing.T, dir registry.Dir) []registry.Slot {
	t.Helper()
	r, err := dir.List()
	if err != nil {
		t.Fatal(err)
	}
	return r
}
