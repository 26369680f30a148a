// Package e2b drives the stock e2b SDK from npm against a launcher of ours, as
// its users do: through control API, the proxy, relay, tap and a real guest.
package e2b

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"tapwatch/internal/nettest"
)

func TestStockSDK(t *testing.T) {
	nettest.NeedRoot(t)
	node := installSDK(t)
	l := startLauncher(t)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, node, "run.mjs")
	cmd.Env = append(os.Environ(), "E2B_API_URL="+l.api, "E2B_SANDBOX_URL="+l.proxy, "E2B_API_KEY=e2b_"+strings.Repeat("0", 40))
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Errorf("run.mjs: %v; the launcher says:\n%s", err, l.log())
	}
}

// The same path by our own command line.
func TestCommandLine(t *testing.T) {
	nettest.NeedRoot(t)
	l := startLauncher(t)
	id := strings.TrimSpace(l.run(t, 0, "", "create", "--name", "cli", "--env", "A=1"))
	for _, tc := range []struct {
		name, stdin, want string
		code              int
		args              []string
	}{
		{"output", "", "42\n", 0, []string{"--", "python3", "-c", "print(6*7)"}},
		{"exit code", "", "1 user\n", 7, []string{"--", "sh", "-c", "echo $A $USER; exit 7"}},
		{"user and cwd", "", "root /usr\n", 0, []string{"-u", "root", "-w", "/usr", "--", "sh", "-c", "echo $USER $PWD"}},
		{"stdin", "hello\n", "HELLO\n", 0, []string{"-i", "--", "tr", "a-z", "A-Z"}},
		{"no such command", "", "", 1, []string{"--", "nonesuch"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := l.run(t, tc.code, tc.stdin, append([]string{"exec", id}, tc.args...)...); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
	if out := l.run(t, 0, "", "list"); !strings.Contains(out, id) || !strings.Contains(out, "running") {
		t.Errorf("list: %s", out)
	}
	if out := l.run(t, 0, "", "logs", id); !strings.Contains(out, "listening") {
		t.Errorf("logs: %s", out)
	}
	l.run(t, 0, "", "kill", id)
	l.run(t, 1, "", "kill", id)
	l.run(t, 1, "", "exec", id, "--", "true")
}
