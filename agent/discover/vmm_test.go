package discover

import (
	"strings"
	"testing"
)

func TestParseVMM(t *testing.T) {
	args := func(a ...string) string { return strings.Join(a, "\x00") + "\x00" }
	const sock = "/tmp/fc-i1a2b3c4-x9y8z7.sock"
	for name, c := range map[string]struct {
		cmdline string
		want    string // empty: not one
	}{
		"E2B's":                   {args("firecracker", "--api-sock", sock), "i1a2b3c4"},
		"with its path":           {args("/fc-versions/v1.10/firecracker", "--api-sock", sock), "i1a2b3c4"},
		"one argument":            {args("firecracker", "--no-seccomp", "--api-sock="+sock), "i1a2b3c4"},
		"an id with dashes":       {args("firecracker", "--api-sock", "/run/fc-a-b-c.sock"), "a-b"},
		"ip netns exec":           {args("ip", "netns", "exec", "ns-1", "firecracker", "--api-sock", sock), ""},
		"a shell around it":       {args("bash", "-c", "ip netns exec ns-1 firecracker --api-sock "+sock), ""},
		"unshare around it":       {args("unshare", "-m", "--", "firecracker", "--api-sock", sock), ""},
		"a socket of other form":  {args("firecracker", "--api-sock", "/run/fc.sock"), ""},
		"no random part":          {args("firecracker", "--api-sock", "/tmp/fc-abc.sock"), ""},
		"no id":                   {args("firecracker", "--api-sock", "/tmp/fc--x.sock"), ""},
		"an option without value": {args("firecracker", "--api-sock"), "" /* the empty last argument */},
		"a zombie's":              {"", ""},
	} {
		t.Run(name, func(t *testing.T) {
			id, socket, ok := parseVMM([]byte(c.cmdline))
			if id != c.want || ok != (c.want != "") {
				t.Errorf("got %q, %v", id, ok)
			}
			if ok && (socket == "" || !strings.Contains(c.cmdline, socket+"\x00")) {
				t.Errorf("socket %q", socket)
			}
		})
	}
}

func TestSocketThatIsNoPlainPath(t *testing.T) {
	for _, socket := range []string{"/tmp/fc-a-b c.sock", "/tmp/fc-a-$(x).sock", "/tmp/\x1b[31mfc/fc-a-b.sock", "/tmp/\n/fc-a-b.sock"} {
		id, got, ok := parseVMM([]byte("firecracker\x00--api-sock\x00" + socket + "\x00"))
		if id != "a" || got != "" || !ok {
			t.Errorf("%q: %q, %q, %v", socket, id, got, ok)
		}
	}
}

func FuzzParseVMM(f *testing.F) {
	f.Add([]byte("firecracker\x00--api-sock\x00/tmp/fc-a-b.sock\x00"))
	f.Add([]byte("firecracker\x00--api-sock=fc--.sock"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if id, _, ok := parseVMM(b); ok == (id == "") {
			t.Errorf("%q: id %q, %v", b, id, ok)
		}
	})
}
