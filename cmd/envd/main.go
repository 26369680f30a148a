// Command envd is the daemon that runs inside a sandbox and carries out what
// E2B's clients ask for. The machine's init starts it last.
package main

import (
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"tapwatch/internal/e2b"
	"tapwatch/internal/sandbox/envd/guest"
)

func main() {
	port := flag.Int("port", e2b.EnvdPort, "TCP port to listen on, on every address")
	version := flag.Bool("version", false, "print the version of the protocol and exit")
	outside := flag.Bool("outside", false, "serve although this is no guest: whoever reaches the port is root here")
	flag.Parse()
	if *version {
		fmt.Println(guest.Version)
		return
	}
	if !*outside && !inGuest() {
		fmt.Fprintln(os.Stderr, "envd: this is no guest of a launcher (no ip=169.254. in /proc/cmdline), and whoever reaches the port could run commands as root: -outside serves nevertheless")
		os.Exit(1)
	}
	if err := serve(*port); err != nil {
		fmt.Fprintln(os.Stderr, "envd:", err)
		os.Exit(1)
	}
}

func serve(port int) error {
	cfg := guest.Config{
		Log:      slog.New(slog.NewTextHandler(os.Stderr, nil)),
		SetClock: setClock,
	}
	if os.Getpid() == 1 {
		cfg.Reaper = guest.NewReaper()
	}
	l, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	cfg.Log.Info("listening", "addr", l.Addr().String())
	srv := &http.Server{Handler: guest.New(cfg), ReadHeaderTimeout: 10 * time.Second}
	return srv.Serve(l)
}

// inGuest says whether the kernel was started as launchers start a guest's: with its
// address on the tap.
func inGuest() bool {
	b, err := os.ReadFile("/proc/cmdline")
	return err == nil && strings.Contains(string(b), "ip=169.254.")
}

func setClock(t time.Time) error {
	ts, err := unix.TimeToTimespec(t)
	if err != nil {
		return err
	}
	return unix.ClockSettime(unix.CLOCK_REALTIME, &ts)
}
