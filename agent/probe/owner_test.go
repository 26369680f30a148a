package probe

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"tapwatch/internal/netns"
	"tapwatch/internal/nettest"
)

func TestLabels(t *testing.T) {
	long := "/" + strings.Repeat("d", labelMax)
	for _, l := range []label{
		{program: "tapwatch_rx", owner: 1, clsact: true, dir: "/run/tapwatch/hooks"},
		{program: "tapwatch_tx", owner: 1<<ownerBits - 1, dir: "/run/a,clsact,dir=b"},
		{program: "tapwatch_rx", owner: 4711, clsact: true},
	} {
		if got, ok := parseLabel(l.String()); !ok || got != l {
			t.Errorf("%q is read as %+v, %v", l, got, ok)
		}
	}
	if s := (label{program: "tapwatch_rx", owner: 1, dir: long}).String(); s != "tapwatch_rx,owner=000000000001" {
		t.Errorf("a path that is too long makes %q", s)
	}
	if l, ok := parseLabel("tapwatch_tx"); !ok || l.owner != 0 {
		t.Errorf("an older version's filter is read as %+v, %v", l, ok)
	}
	for _, name := range []string{"", "foreign", "tapwatch_rxx", "tapwatch_rx,", "tapwatch_rx,owner=", "tapwatch_rx,owner=12", "tapwatch_rx,owner=000000000000", "tapwatch_rx,owner=00000000000g,clsact", "foreign,owner=000000000001"} {
		if l, ok := parseLabel(name); ok {
			t.Errorf("%q is read as %+v", name, l)
		}
	}
}

// A directory keeps its owner over a kill, an illegible file is replaced, and a
// copy of a directory whose agent lives gets an owner of its own.
func TestOwnerIsOfTheDirectory(t *testing.T) {
	t.Parallel()
	killed := load(t)
	dir, o := killed.hooks.dir, killed.hooks.owner
	ns, d, _ := tap(t)
	if err := killed.Attach(ns, d, "tap0"); err != nil {
		t.Fatal(err)
	}
	if l, err := AgentOf(dir); err != nil || l == nil || l.PID != os.Getpid() || l.Dir != dir || !l.HasOurPIDs() {
		t.Errorf("the agent of %s is %+v, %v", dir, l, err)
	}
	copied := filepath.Join(t.TempDir(), "hooks")
	if err := writeOwner(copied, o); err != nil {
		t.Fatal(err)
	}
	twin := reload(t, copied)
	if twin.hooks.owner == o || twin.hooks.owner.key() == o.key() || readOwner(copied) != twin.hooks.owner {
		t.Errorf("the copy's owner is %s, in its file %s, beside the living %s", twin.hooks.owner, readOwner(copied), o)
	}
	if have, why := capability(twin, "hook_owner"); have || why == "" {
		t.Errorf("the copy's capability: %v, %q", have, why)
	}
	kill(t, killed)
	if l, err := AgentOf(dir); err != nil || l != nil {
		t.Errorf("after its end the agent of %s is %+v, %v", dir, l, err)
	}
	next := reload(t, dir)
	if have, why := capability(next, "hook_owner"); next.hooks.owner != o || !have {
		t.Errorf("the next agent's owner is %s, want %s: %v, %s", next.hooks.owner, o, have, why)
	}
	kill(t, next)
	if err := os.WriteFile(filepath.Join(dir, ownerFile), []byte("no owner"), 0o644); err != nil {
		t.Fatal(err)
	}
	if p := reload(t, dir); p.hooks.owner == o || p.hooks.owner == 0 || readOwner(dir) != p.hooks.owner {
		t.Errorf("with an illegible file the owner is %s, then in the file %s", p.hooks.owner, readOwner(dir))
	}
}

// A look, and a start that is given up, leave the hooks to the directory's agent.
func TestALookOwnsNothing(t *testing.T) {
	t.Parallel()
	agent := load(t)
	dir, o := agent.hooks.dir, agent.hooks.owner
	ns, d, _ := tap(t)
	if err := agent.Attach(ns, d, "tap0"); err != nil {
		t.Fatal(err)
	}
	look := func(when string) {
		t.Helper()
		p, err := Load(Config{HooksDir: dir, Look: true})
		if err != nil {
			t.Fatal(err)
		}
		kill(t, p)
		if now := readOwner(dir); now != o {
			t.Errorf("%s, the owner is %s, was %s", when, now, o)
		}
	}
	look("beside a living agent")
	kill(t, agent)
	look("after its kill")
	if l, err := AgentOf(dir); err != nil || l != nil {
		t.Errorf("after a look the agent of %s is %+v, %v", dir, l, err)
	}
	if err := os.Remove(agent.hooks.note(d)); err != nil { // as where the qdisc is another's
		t.Fatal(err)
	}
	kill(t, reload(t, dir))
	if now := readOwner(dir); now != o {
		t.Errorf("after a start that attached nothing the owner is %s, was %s", now, o)
	}
}

func capability(p *Probe, name string) (have bool, why string) {
	for _, c := range p.Capabilities() {
		if c.Name == name {
			return c.Have, c.Why
		}
	}
	return false, ""
}

// elsewhere is the environment variable that makes a test of this binary play an
// agent in a mount and PID namespace of its own: "netns-path dir ifindex what".
const elsewhere = "TAPWATCH_PROBE_ELSEWHERE"

// inElsewhere starts the part and returns what it says. Its hooks directory has
// the path of ours, and is another.
func inElsewhere(t *testing.T, ns string, d netns.Device, dir, what string) (*exec.Cmd, interface{ Read([]byte) (int, error) }) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestElsewhere$", "-test.v")
	cmd.Env = append(os.Environ(), elsewhere+"="+strings.Join([]string{ns, dir, strconv.Itoa(int(d.Ifindex)), what}, " "))
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID, Pdeathsig: unix.SIGKILL}
	cmd.Stderr = os.Stderr
	c := nettest.Start(t, "", cmd)
	t.Cleanup(func() { _ = cmd.Process.Kill() }) // what it does then is not what is tested
	return cmd, c.Out
}

// TestElsewhere is the agent, or the cleanup, of another mount namespace.
func TestElsewhere(t *testing.T) {
	args := strings.Fields(os.Getenv(elsewhere))
	if len(args) != 4 {
		return // not a test by itself
	}
	ns, dir := args[0], args[1]
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", filepath.Dir(dir), "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	index, _ := strconv.Atoi(args[2])
	cookie, err := netns.CookieOf(ns)
	if err != nil {
		t.Fatal(err)
	}
	d := netns.Device{Netns: cookie, Ifindex: netns.Ifindex(index)}
	switch args[3] {
	case "attach":
		p := reload(t, dir)
		if err := p.Attach(ns, d, "tap0"); err != nil {
			t.Fatal(err)
		}
		os.Stdout.WriteString("\nattached\n")
		_, _ = os.Stdin.Read(make([]byte, 1)) // until the parent ends, at the latest
	case "cleanup":
		c, err := cleanIn([]string{ns}, dir)
		if err != nil || c.Own+c.Orphans != 0 {
			t.Fatalf("cleaned %+v, %v", c, err)
		}
		os.Stdout.WriteString("\n")
		for _, l := range c.Left {
			os.Stdout.WriteString(l.String() + "\n")
		}
		os.Stdout.WriteString("done\n")
	}
}

// Two agents whose hooks directories have one path, in two mount and PID
// namespaces, share nothing; neither's end, nor a cleanup in either, touches the
// other's hooks.
func TestTwoAgentsOfOnePath(t *testing.T) {
	t.Parallel()
	here := load(t)
	ns, d, _ := tap(t)
	silence(t, ns)
	if err := here.Attach(ns, d, "tap0"); err != nil {
		t.Fatal(err)
	}
	there, out := inElsewhere(t, ns, d, here.hooks.dir, "attach")
	waitFor(t, out, "attached")
	owners := map[Owner]int{}
	handles := map[uint32]int{}
	onDevice(t, ns, d, func(l label, f *netlink.BpfFilter) {
		owners[l.owner]++
		handles[f.Handle]++
		if l.dir != here.hooks.dir {
			t.Errorf("%q tells the directory %q", f.Name, l.dir)
		}
	})
	if len(owners) != 2 || len(handles) != 2 || owners[here.hooks.owner] != 2 {
		t.Errorf("owners %v and handles %v, want two each, with two filters each", owners, handles)
	}

	_, said := inElsewhere(t, ns, d, here.hooks.dir, "cleanup")
	waitFor(t, said, "done")
	c, err := cleanIn([]string{ns}, here.hooks.dir)
	if err != nil || c.Own+c.Orphans != 0 || len(c.Left) != 2 || c.Left[0].Agent == nil || c.Left[1].Agent == nil {
		t.Errorf("cleanup beside two that live: %+v, %v", c, err)
	}
	if c.Left[0].Agent.HasOurPIDs() == c.Left[1].Agent.HasOurPIDs() {
		t.Errorf("whose PIDs are ours? %s; %s", c.Left[0], c.Left[1])
	}

	before := counters(t, here, d)
	stop := chatter(t, ns)
	if err := there.Process.Signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = there.Wait()
	// Its directory went with its mount namespace: nobody will take its hooks over.
	if c, err = cleanIn([]string{ns}, here.hooks.dir); err != nil || c.Own != 0 || c.Orphans != 1 || len(c.Left) != 1 || c.Left[0].Owner != here.hooks.owner {
		t.Errorf("cleanup after the other's end: %+v, %v", c, err)
	}
	sent := stop()
	if n := counters(t, here, d).TransmitPackets - before.TransmitPackets; n != sent {
		t.Errorf("counted %d datagrams of %d", n, sent)
	}
	q, f := atDevice(t, ns, d)
	equal(t, "qdiscs", q, "clsact")
	equal(t, "filters", f, "tapwatch_rx", "tapwatch_tx")
}

func counters(t *testing.T, p *Probe, d netns.Device) Counters {
	t.Helper()
	c, err := p.Counters(d)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// onDevice calls fn with every filter of any agent on a device.
func onDevice(t *testing.T, ns string, d netns.Device, fn func(label, *netlink.BpfFilter)) {
	t.Helper()
	nettest.In(t, ns, func() error {
		l, err := netlink.LinkByIndex(int(d.Ifindex))
		if err != nil {
			return err
		}
		for _, dir := range directions {
			fs, err := netlink.FilterList(l, dir.parent)
			if err != nil {
				return err
			}
			for _, f := range fs {
				if of, ok := labelOf(f); ok {
					fn(of, f.(*netlink.BpfFilter))
				}
			}
		}
		return nil
	})
}
