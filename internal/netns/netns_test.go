package netns

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"tapwatch/internal/nlsafe"
)

// fresh makes a namespace that the test's end removes. (nettest, which has the
// like for other packages, imports this one.)
func fresh(t testing.TB) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this machine cannot run the test: not root")
	}
	name := fmt.Sprintf("twtest-%08x", rand.Uint32())
	if err := Create(name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := Delete(name); err != nil {
			t.Error(err)
		}
	})
	return name
}

func open(t testing.TB, path string) *os.File {
	t.Helper()
	f, err := os.Open(Path(path))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestDoRestoresTheThread(t *testing.T) {
	ns := fresh(t)
	home, err := Current()
	if err != nil {
		t.Fatal(err)
	}
	there, err := CookieOf(ns)
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		var inside Cookie
		err := Do(ns, func() (err error) {
			inside, err = Current()
			return err
		})
		if err != nil || inside != there {
			t.Fatalf("inside %d, want %d: %v", inside, there, err)
		}
	}
	// Every thread of the process is one that Do may have used.
	tasks, err := filepath.Glob("/proc/self/task/*/ns/net")
	if err != nil || len(tasks) == 0 {
		t.Fatalf("%d threads: %v", len(tasks), err)
	}
	for _, task := range tasks {
		if c, err := CookieOf(task); err == nil && c != home {
			t.Errorf("%s is in %d, want %d", task, c, home)
		}
	}
	if now, err := Current(); err != nil || now != home {
		t.Errorf("the caller is in %d, want %d: %v", now, home, err)
	}
}

func TestDoReturnsTheErrorOfItsFunction(t *testing.T) {
	want := errors.New("mine")
	if err := Do(fresh(t), func() error { return want }); !errors.Is(err, want) {
		t.Errorf("got %v", err)
	}
}

func TestNoSuchNamespace(t *testing.T) {
	name := fresh(t)
	if err := Delete(name); err != nil {
		t.Fatal(err)
	}
	plain := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(plain, nil, 0o444); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{name, plain, "/proc/self/ns/mnt"} {
		ran := false
		err := Do(path, func() error { ran = true; return nil })
		if ran || !errors.Is(err, ErrNotExist) {
			t.Errorf("Do in %s: ran %v, %v", path, ran, err)
		}
		if c, err := CookieOf(path); !errors.Is(err, ErrNotExist) {
			t.Errorf("CookieOf %s: %d, %v", path, c, err)
		}
	}
}

func TestCreateAndDelete(t *testing.T) {
	name := fresh(t)
	first, err := CookieOf(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := Create(name); !errors.Is(err, os.ErrExist) {
		t.Errorf("a name that is taken: %v", err)
	}
	if c, err := CookieOf(name); err != nil || c != first {
		t.Errorf("its namespace after that: %d, want %d: %v", c, first, err)
	}
	if err := errors.Join(Delete(name), Delete(name)); err != nil {
		t.Errorf("delete twice: %v", err)
	}
	if _, err := os.Lstat(Path(name)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file after delete: %v", err)
	}
	if err := Create(name); err != nil {
		t.Fatal(err)
	}
	if c, err := CookieOf(name); err != nil || c == first {
		t.Errorf("a new namespace of the name has cookie %d, %v", c, err)
	}
}

func TestDeleteOfAHalfMadeName(t *testing.T) {
	name := fresh(t)
	if err := unix.Unmount(Path(name), unix.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
	if err := Delete(name); err != nil {
		t.Error(err)
	}
}

func TestBothWaysToTheCookieAgree(t *testing.T) {
	for range 3 {
		f := open(t, fresh(t))
		within, err := cookieWithin(f)
		if err != nil {
			t.Fatal(err)
		}
		if c, err := CookieOfFile(f); err != nil || c != within {
			t.Errorf("%s: %d from outside, %d from within: %v", f.Name(), c, within, err)
		}
	}
}

func TestNSIDs(t *testing.T) {
	conn, err := nlsafe.Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	f := open(t, fresh(t))
	if id, err := NSIDOf(conn, f); err != nil || id != NoNSID {
		t.Errorf("before it has one: %d, %v", id, err)
	}
	id, err := AssignNSID(conn, f)
	if err != nil || id == NoNSID {
		t.Fatalf("assigned %d, %v", id, err)
	}
	if again, err := AssignNSID(conn, f); err != nil || again != id {
		t.Errorf("assigned again: %d, was %d, %v", again, id, err)
	}
	ids, err := ListNSIDs(conn)
	listed := false
	for _, i := range ids {
		listed = listed || i == id
	}
	if err != nil || !listed {
		t.Errorf("%d is not in %v, %v", id, ids, err)
	}
}

// BenchmarkCookieOf is what a scan pays for each name.
func BenchmarkCookieOf(b *testing.B) {
	ns := fresh(b)
	for b.Loop() {
		if _, err := CookieOf(ns); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDo is an empty visit, its goroutine included.
func BenchmarkDo(b *testing.B) {
	ns := fresh(b)
	runtime.GC()
	for b.Loop() {
		if err := Do(ns, func() error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}
