package catalog

import (
	"bytes"
	"context"
	"errors"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"tapwatch/internal/nettest"
)

// nobody is who PostgreSQL takes itself for where the tests are root's, whom it
// refuses: in a user namespace, so that it may still read what root's files are.
const nobody = 65534

func ordinary() *syscall.SysProcAttr {
	if os.Geteuid() != 0 {
		return nil
	}
	return &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: nobody, HostID: 0, Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: nobody, HostID: 0, Size: 1}},
	}
}

// cluster starts a PostgreSQL of its own, on a socket in a directory of its own,
// and returns the URL of its first database.
func cluster(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "tapwatch-pg") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	data := filepath.Join(dir, "data")
	run := func(name string, args ...string) (*exec.Cmd, *bytes.Buffer) {
		path, err := exec.LookPath(name)
		if err != nil {
			t.Fatalf("%v: scripts/deps test installs it", err)
		}
		says := new(bytes.Buffer)
		cmd := exec.Command(path, args...)
		cmd.SysProcAttr, cmd.Stdout, cmd.Stderr, cmd.Dir = ordinary(), says, says, dir
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}
		return cmd, says
	}
	initdb, says := run("initdb", "-D", data, "-U", "e2b", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
	if err := initdb.Run(); err != nil {
		t.Fatalf("initdb: %v: %s", err, says)
	}
	server, says := run("postgres", "-D", data, "-k", dir, "-c", "listen_addresses=", "-c", "fsync=off", "-c", "shared_buffers=8MB")
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = server.Wait(); close(ended) }()
	t.Cleanup(func() {
		_ = server.Process.Signal(syscall.SIGINT) // a fast shutdown
		select {
		case <-ended:
		case <-time.After(time.Minute):
			_ = server.Process.Kill()
		}
	})
	at := "postgres:///postgres?" + url.Values{"host": {dir}, "user": {"e2b"}}.Encode()
	nettest.Eventually(t, "PostgreSQL answers", func() bool {
		select {
		case <-ended:
			t.Fatalf("postgres: %s", says)
		default:
		}
		conn, err := pgx.Connect(t.Context(), at)
		if err != nil {
			return false
		}
		return conn.Close(t.Context()) == nil
	})
	return at
}

// sql runs statements on a connection of their own.
func sql(t *testing.T, at, statements string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), at)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.PgConn().Exec(t.Context(), statements).ReadAll(); err != nil {
		t.Fatal(err)
	}
}

// database makes a database with these tables and rows, and opens the catalog.
func database(t *testing.T, at, name, statements string) (*Catalog, error) {
	t.Helper()
	sql(t, at, "CREATE DATABASE "+name)
	u, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/" + name
	sql(t, u.String(), statements)
	c, err := Open(t.Context(), u.String())
	if err == nil {
		t.Cleanup(func() {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	return c, err
}

// The schemas as E2B had and has them, as far as they are read.
const (
	oldSchema = `
CREATE TABLE envs (id text PRIMARY KEY);
CREATE TABLE env_aliases (alias text PRIMARY KEY, env_id text NOT NULL REFERENCES envs);
CREATE TABLE env_builds (id uuid PRIMARY KEY, env_id text REFERENCES envs, status text NOT NULL, kernel_version text NOT NULL,
	firecracker_version text NOT NULL, envd_version text, created_at timestamptz NOT NULL);
INSERT INTO envs VALUES ('env1'), ('env2');
INSERT INTO env_aliases VALUES ('base', 'env1'), ('unbuilt', 'env2');
INSERT INTO env_builds VALUES
	('00000000-0000-0000-0000-000000000001', 'env1', 'uploaded', 'vmlinux-5.10', 'v1.7', NULL, '2025-01-01'),
	('00000000-0000-0000-0000-000000000002', 'env1', 'uploaded', 'vmlinux-6.1', 'v1.10', '0.1.3', '2025-02-01'),
	('00000000-0000-0000-0000-000000000003', 'env1', 'failed', 'vmlinux-6.1', 'v1.12', '0.2.0', '2025-03-01'),
	('00000000-0000-0000-0000-000000000004', 'env2', 'building', 'vmlinux-6.1', 'v1.12', '0.2.0', '2025-03-01');`

	newSchema = `
CREATE TYPE build_status_group AS ENUM ('pending', 'in_progress', 'ready', 'failed');
CREATE TABLE envs (id text PRIMARY KEY, deleted_at timestamptz);
CREATE TABLE env_aliases (alias text NOT NULL, env_id text NOT NULL REFERENCES envs, namespace text);
CREATE TABLE env_builds (id uuid PRIMARY KEY, env_id text, status_group build_status_group NOT NULL, kernel_version text,
	firecracker_version text, envd_version text, created_at timestamptz NOT NULL);
CREATE TABLE env_build_assignments (env_id text NOT NULL REFERENCES envs, build_id uuid NOT NULL REFERENCES env_builds, tag text NOT NULL,
	created_at timestamptz NOT NULL);
INSERT INTO envs VALUES ('env1', NULL), ('env2', NULL), ('env3', now()), ('env4', NULL);
INSERT INTO env_aliases VALUES ('base', 'env1', NULL), ('desktop', 'env2', 'team-a'), ('desktop', 'env1', 'team-b'), ('gone', 'env3', NULL), ('older', 'env4', NULL);
INSERT INTO env_builds VALUES
	('00000000-0000-0000-0000-000000000011', NULL, 'ready', 'vmlinux-6.1', 'v1.12', '0.4.0', '2026-01-01'),
	('00000000-0000-0000-0000-000000000012', NULL, 'ready', 'vmlinux-6.1', 'v1.13', '0.4.1', '2026-02-01'),
	('00000000-0000-0000-0000-000000000013', NULL, 'in_progress', 'vmlinux-6.1', 'v1.14', '0.4.2', '2026-03-01'),
	('00000000-0000-0000-0000-000000000014', 'env4', 'ready', NULL, NULL, NULL, '2024-01-01');
INSERT INTO env_build_assignments VALUES
	('env1', '00000000-0000-0000-0000-000000000011', 'v1', '2026-01-01'),
	('env1', '00000000-0000-0000-0000-000000000012', 'default', '2026-02-01'),
	('env1', '00000000-0000-0000-0000-000000000011', 'default', '2026-02-02'),
	('env1', '00000000-0000-0000-0000-000000000013', 'default', '2026-03-01'),
	('env2', '00000000-0000-0000-0000-000000000012', 'default', '2026-02-01');`
)

func TestCatalog(t *testing.T) {
	at := cluster(t)
	old, err := database(t, at, "old", oldSchema)
	if err != nil {
		t.Fatal(err)
	}
	fresh, err := database(t, at, "fresh", newSchema)
	if err != nil {
		t.Fatal(err)
	}
	const id = "00000000-0000-0000-0000-0000000000"
	tests := []struct {
		c    *Catalog
		name string
		want Entry
		err  error
	}{
		{old, "base", Entry{"env1", id + "02", "vmlinux-6.1", "v1.10", "0.1.3"}, nil},
		{old, "env1", Entry{"env1", id + "02", "vmlinux-6.1", "v1.10", "0.1.3"}, nil},
		{old, "unbuilt", Entry{}, ErrNotFound},
		{old, "team/base", Entry{}, ErrNotFound},
		{old, "'; DROP TABLE envs; --", Entry{}, ErrNotFound},
		{fresh, "base", Entry{"env1", id + "11", "vmlinux-6.1", "v1.12", "0.4.0"}, nil}, // assigned last, though built earlier
		{fresh, "base:v1", Entry{"env1", id + "11", "vmlinux-6.1", "v1.12", "0.4.0"}, nil},
		{fresh, "base:v2", Entry{}, ErrNotFound},
		{fresh, "desktop", Entry{}, ErrAmbiguous},
		{fresh, "team-a/desktop", Entry{"env2", id + "12", "vmlinux-6.1", "v1.13", "0.4.1"}, nil},
		{fresh, "env2", Entry{"env2", id + "12", "vmlinux-6.1", "v1.13", "0.4.1"}, nil},
		{fresh, "gone", Entry{}, ErrNotFound},
		{fresh, "older", Entry{"env4", id + "14", "", "", ""}, nil}, // from before there were assignments
		{fresh, "absent", Entry{}, ErrNotFound},
	}
	for _, tt := range tests {
		got, err := tt.c.Find(t.Context(), tt.name)
		if got != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("%s: %+v, %v; want %+v, %v", tt.name, got, err, tt.want, tt.err)
		}
	}
	if _, err := old.conn.Exec(t.Context(), "SELECT 1"); err != nil {
		t.Error(err) // the connection is as good as before
	}
	if _, err := database(t, at, "other", "CREATE TABLE envs (id text)"); !errors.Is(err, ErrSchema) {
		t.Errorf("another schema: %v", err)
	}
}

func TestNoDatabase(t *testing.T) {
	for _, at := range []string{"postgres:///e2b?host=" + t.TempDir(), "not a url", "postgres://u:secret@127.0.0.1:1/e2b?connect_timeout=2"} {
		_, err := Open(t.Context(), at)
		if err == nil {
			t.Errorf("%s was opened", at)
		} else if bytes.Contains([]byte(err.Error()), []byte("secret")) {
			t.Errorf("%v tells the password", err)
		}
	}
}
