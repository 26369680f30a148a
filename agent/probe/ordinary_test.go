package probe

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"tapwatch/internal/netns"
)

// ordinaryChild is like child: a device, as "cookie ifindex".
const ordinaryChild = "TAPWATCH_PROBE_ORDINARY"

// nobody is the user that owns nothing.
const nobody = 65534

// TestChildCounts is the agent of TestOrdinaryUser: it attaches and, when told
// to, says what it counted.
func TestChildCounts(t *testing.T) {
	args := strings.Fields(os.Getenv(ordinaryChild))
	if len(args) != 2 {
		return // not a test by itself
	}
	cookie, err := strconv.ParseUint(args[0], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	index, err := strconv.Atoi(args[1])
	if err != nil {
		t.Fatal(err)
	}
	p, err := Load(Config{HooksDir: "/nonexistent"})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for _, c := range p.Capabilities() {
		fmt.Println(c.Name, c.Have, c.Why)
	}
	d := netns.Device{Netns: netns.Cookie(cookie), Ifindex: netns.Ifindex(index)}
	if err := p.Attach("/nonexistent", d, "tap0"); err != nil {
		t.Fatal(err)
	}
	fmt.Println("\nattached")
	_, _ = os.Stdin.Read(make([]byte, 1))
	c, err := p.Counters(d)
	fmt.Printf("uid %d received %d transmitted %d by %s %v\n", os.Getuid(), c.ReceivePackets, c.TransmitPackets, p.mode, err)
}

// A user without root's rights or files sees the same by tracepoints: with
// CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN alone.
func TestOrdinaryUser(t *testing.T) {
	t.Parallel()
	ns, d, f := tap(t)
	silence(t, ns)
	g := newGuest(t, ns, d, f)
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestChildCounts$", "-test.v") // nobody may not enter the binary's directory
	cmd.Dir = "/"
	cmd.Env = []string{fmt.Sprintf("%s=%d %d", ordinaryChild, d.Netns, d.Ifindex)}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Credential:  &syscall.Credential{Uid: nobody, Gid: nobody},
		AmbientCaps: []uintptr{unix.CAP_BPF, unix.CAP_PERFMON, unix.CAP_NET_ADMIN},
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Wait() }()
	defer func() { _ = cmd.Process.Kill() }()
	waitFor(t, out, "attached")
	for range 7 {
		g.send(ethernet(g.host, guestMAC, unix.ETH_P_IPV6, ipv6()))
		transmit(t, ns, d, ethernet(guestMAC, g.host, unix.ETH_P_IPV6, ipv6()))
	}
	if err := stdin.Close(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, out, fmt.Sprintf("uid %d received 7 transmitted 7 by tracepoint <nil>", nobody))
}
