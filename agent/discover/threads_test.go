package discover

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tapwatch/internal/netns"
	"tapwatch/internal/nettest"
)

// wanderer is the name by which a copy of this test's program has one thread in
// the namespace of its argument. It says which thread, ends that at the first line
// that it reads, and itself at the second.
const wanderer = "wanderer"

func wander() {
	in := bufio.NewScanner(os.Stdin)
	wait := make(chan bool)
	go leave(wait)
	in.Scan()
	wait <- true
	in.Scan()
	os.Exit(0)
}

// leave goes with a thread that is not the process's first: Go would not end that.
func leave(wait chan bool) {
	thread, err := netns.Lock() // never unlocked: the thread ends with the goroutine
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	if unix.Gettid() == os.Getpid() {
		left := make(chan bool)
		go func() { leave(wait); close(left) }()
		<-left
		return
	}
	there, err := netns.Open(os.Args[1])
	if err == nil {
		err = errors.Join(thread.Enter(there), there.Close()) // the file would keep it too
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(unix.Gettid())
	<-wait
}

// TestNamespaceOfAThreadAlone finds a namespace that nothing but a thread is in,
// whose process is in ours.
func TestNamespaceOfAThreadAlone(t *testing.T) {
	w := start(t, Config{Every: time.Hour, FullEvery: 10 * time.Millisecond, rarely: 2})
	host, stop := stranger(t, 0)
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{wanderer, nsPath(host)}
	c := nettest.Start(t, "", cmd)
	m := member{pid: cmd.Process.Pid}
	if _, err := fmt.Fscan(c.Out, &m.tid); err != nil {
		t.Fatal(err)
	}
	stop() // now the thread is alone in it
	cookie, err := netns.CookieOf(m.path())
	if err != nil {
		t.Fatal(err)
	}
	if home, err := netns.CookieOf(nsPath(m.pid)); err != nil || home != w.Self() {
		t.Fatalf("its process is in %d, %v", home, err)
	}
	var e Entry
	nettest.Eventually(t, "found by the thread", func() bool { // by the process that was in it at first, maybe
		e, _ = w.Get(cookie)
		return e.Path == m.path()
	})
	if e.Name != "" || e.NSID == netns.NoNSID || e.Inode == 0 || e.Slot != nil || e.VMMs != nil || e.Last != "" {
		t.Errorf("found %+v", e)
	}
	if got, ok := w.Resolve(e.NSID); !ok || got != cookie {
		t.Errorf("nsid %d resolved to %d, %v", e.NSID, got, ok)
	}
	fmt.Fprintln(c.In)
	w.gone(cookie)
}

func TestMembersInOrder(t *testing.T) {
	in := []member{{pid: 7}, {pid: 9}, {2, 3}, {2, 4}, {8, 1}}
	for i, a := range in {
		for j, b := range in {
			if a.before(b) != (i < j) {
				t.Errorf("%+v before %+v: %v", a, b, a.before(b))
			}
		}
	}
}
