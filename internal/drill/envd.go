package drill

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"tapwatch/agent/path"
	"tapwatch/internal/sandbox/envd"
	"tapwatch/internal/sandbox/template"
)

// What can be wrong with the guest's daemon.
var envdFaults = []Fault{
	{
		Name: "init-no-cgroup2", What: "the template's /sbin/init does not mount cgroup2",
		Hop: path.Envd, Expected: "init-no-cgroup2", Variant: template.InitNoCgroup, Answers: true,
	},
	{
		Name: "envd-missing", What: "the template has no /usr/bin/envd",
		Hop: path.Envd, Expected: "envd-missing", Variant: template.NoEnvd,
	},
	{
		Name: "cache-metadata-missing", What: "the template cache has a directory of the build without metadata.json",
		Hop: path.Envd, Expected: "cache-metadata-missing",
		Make: func(_ context.Context, b *Box) (func() error, error) {
			build := filepath.Join(b.Cache, b.BuildID)
			if err := os.MkdirAll(filepath.Join(build, "cache", "drill"), 0o755); err != nil {
				return nil, err
			}
			return func() error { return os.RemoveAll(build) }, nil
		},
	},
	{
		Name: "envd-not-listening", What: "envd is up but does not listen: a program that only sleeps has taken its place",
		Hop: path.Envd, Expected: "envd-refused",
		Make: func(ctx context.Context, b *Box) (func() error, error) {
			return nil, b.shell(ctx, `printf '#!/bin/sh\nexec sleep 100000\n' >/run/deaf && chmod +x /run/deaf && mount --bind /run/deaf /usr/bin/envd
				(sleep 0.2; killall -9 envd) >/dev/null 2>&1 &`)
		},
	},
	{
		Name: "envd-hung", What: "envd gets SIGSTOP: its port still takes connections",
		Hop: path.Envd, Expected: "envd-hung",
		Make: func(ctx context.Context, b *Box) (func() error, error) {
			return nil, b.shell(ctx, `(sleep 0.2; killall -STOP envd) >/dev/null 2>&1 &`)
		},
	},
	{
		Name: "port-refused", What: "a client asks, again and again, for port 3000, where nothing listens",
		Hop: path.Envd, Expected: "port-refused",
		Make: func(ctx context.Context, b *Box) (func() error, error) {
			asking, stop := context.WithCancel(ctx)
			done := make(chan struct{})
			go func() { defer close(done); ask(asking, b.clientOf("3000"), askTime, func(request) {}) }()
			return func() error { stop(); <-done; return nil }, nil
		},
	},
}

// shell runs a script as root in the guest. What cuts the connection to envd must
// leave it time to answer.
func (b *Box) shell(ctx context.Context, script string) error {
	var out bytes.Buffer
	code, err := b.client().Exec(ctx, envd.ExecRequest{Cmd: "/bin/sh", Args: []string{"-c", script}, User: "root"}, &out, &out)
	if err != nil {
		return err
	}
	if code != 0 {
		return fmt.Errorf("in the guest: exit status %d: %s", code, strings.TrimSpace(out.String()))
	}
	return nil
}
