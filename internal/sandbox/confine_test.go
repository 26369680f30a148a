package sandbox

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"tapwatch/internal/e2b"
)

// wantConfined has the guest itself try what it is not to reach: its slot's relay, its
// gateway, its host at an address of the slot and by the port of a program there.
func wantConfined(t *testing.T, url string, s Sandbox) {
	t.Helper()
	l, err := net.Listen("tcp4", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	tries := []string{
		fmt.Sprintf("%s/%d", s.Slot.VpeerIP(), e2b.EnvdPort),
		fmt.Sprintf("%s/%d", s.Slot.TapIP(), e2b.EnvdPort),
		fmt.Sprintf("%s/%d", s.Slot.HostIP(), e2b.EnvdPort),
		fmt.Sprintf("%s/%d", s.Slot.VethIP(), port),
		"169.254.169.254/80",
	}
	got := exec(t, url, s, "bash", "-c", "for to in "+strings.Join(tries, " ")+
		"; do if timeout 5 bash -c \"exec 3<>/dev/tcp/$to\" 2>/dev/null; then echo reached $to; fi; done; echo tried")
	if got != "tried\n" {
		t.Errorf("the guest: %s", got)
	}
}
