package config

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"
	"syscall"
	"testing"

	"tapwatch/internal/e2b"
)

// reloading is a Reloader of a file, with what it applied and logged.
type reloading struct {
	Reloader[*bound]
	file    string
	applied []string // the list of ignored taps, at each time
	refuse  error
	log     strings.Builder
}

func startReloading(t *testing.T, text string) *reloading {
	t.Helper()
	r := &reloading{file: write(t, text)}
	r.Load = func() (*bound, *Config, error) { return load(Loader{Fallback: r.file}) }
	r.Apply = func(b *bound, _ *Config) error {
		if r.refuse == nil {
			r.applied = append(r.applied, b.ignore.String())
		}
		return r.refuse
	}
	r.Log = slog.New(slog.NewTextHandler(&r.log, nil))
	var err error
	if _, r.InForce, err = r.Load(); err != nil {
		t.Fatal(err)
	}
	return r
}

// reload writes the file and reads it again; it returns what was logged.
func (r *reloading) reload(t *testing.T, text string) string {
	t.Helper()
	if err := os.WriteFile(r.file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	r.log.Reset()
	_ = r.Reload() // the log is what is looked at
	return r.log.String()
}

func TestReload(t *testing.T) {
	r := startReloading(t, "ignore: [device=a]\n")
	if log := r.reload(t, "ignore: [device=b]\n"); !strings.Contains(log, "changed=ignore") || strings.Contains(log, "restart") {
		t.Error(log)
	}
	if got := strings.Join(r.applied, " "); got != "device=b" {
		t.Errorf("applied: %s", got)
	}
	if log := r.reload(t, "ignore: [device=b]\n"); !strings.Contains(log, "changed=nothing") {
		t.Error(log)
	}
}

func TestReloadOfABadFile(t *testing.T) {
	r := startReloading(t, "ignore: [device=a]\n")
	log := r.reload(t, "ignore: [device=b]\nlisetn: x\nhops: maybe\n")
	if strings.Count(log, "\n") != 1 || !strings.Contains(log, "the old one stays in force") ||
		!strings.Contains(log, "agent.yaml:2: unknown key") || !strings.Contains(log, "agent.yaml:3: hops") {
		t.Error(log)
	}
	if r.applied != nil {
		t.Errorf("applied: %v", r.applied)
	}
	// The next good one is taken, and compared with the one in force.
	if log := r.reload(t, "ignore: [device=b]\n"); !strings.Contains(log, "changed=ignore") {
		t.Error(log)
	}
}

func TestReloadSaysWhatNeedsARestart(t *testing.T) {
	r := startReloading(t, "listen: a\n")
	for range 2 { // as often as it is asked: the agent still has the old ones
		log := r.reload(t, "listen: b\nhops: false\nignore: [device=a]\ne2b: {vrt_network_cidr: 10.1.0.0/16}\n")
		if !strings.Contains(log, `"needs a restart: hops, listen, e2b.vrt_network_cidr"`) {
			t.Error(log)
		}
	}
	if s := setting(t, r.InForce, "listen"); s.Value != "a" || r.InForce.E2B != e2b.DefaultPlan() {
		t.Errorf("in force: %+v %+v", s, r.InForce.E2B)
	}
	if s := setting(t, r.InForce, "ignore"); s.text() != "device=a" {
		t.Errorf("in force: %+v", s)
	}
	if log := r.reload(t, "listen: a\nignore: [device=a]\n"); strings.Contains(log, "restart") {
		t.Error(log)
	}
}

func TestReloadOfAFileThatIsGone(t *testing.T) {
	r := startReloading(t, "ignore: [device=a]\n")
	if err := os.Remove(r.file); err != nil {
		t.Fatal(err)
	}
	if err := r.Reload(); err == nil || !strings.HasSuffix(err.Error(), "agent.yaml: the file is gone") || r.applied != nil {
		t.Errorf("%v, applied: %v", err, r.applied)
	}
}

func TestReloadThatIsNotApplied(t *testing.T) {
	r := startReloading(t, "ignore: [device=a]\n")
	r.refuse = errors.New("no room")
	if log := r.reload(t, "ignore: [device=b]\n"); !strings.Contains(log, "no room") || !strings.Contains(log, "old one stays") {
		t.Error(log)
	}
	if s := setting(t, r.InForce, "ignore"); s.text() != "device=a" {
		t.Errorf("in force: %+v", s)
	}
}

func TestReloadAtEachSignal(t *testing.T) {
	r := startReloading(t, "ignore: [device=a]\n")
	applied := make(chan string)
	r.Apply = func(b *bound, _ *Config) error { applied <- b.ignore.String(); return nil }
	ctx, cancel := context.WithCancel(t.Context())
	signals, ended := make(chan os.Signal), make(chan struct{})
	go func() { defer close(ended); r.Run(ctx, signals) }()
	for range 2 {
		signals <- syscall.SIGHUP
		if got := <-applied; got != "device=a" {
			t.Error(got)
		}
	}
	cancel()
	<-ended
}
