package drill

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"tapwatch/internal/e2b"
)

// standIn is what a process does that stands in for a Firecracker, with E2B's
// command line: how one is found, and what it says of itself, is what is drilled.
// It has no guest.
type standIn struct {
	State   string `json:"state"` // what GET / says, one of path's; empty: nothing is ever answered
	NIC     bool   `json:"nic"`   // GET /vm/config names tap0
	Attach  bool   `json:"attach"`
	VnetHdr bool   `json:"vnet_hdr"`
	Stalls  bool   `json:"stalls"` // a thread waits for a page that no handler gives it

	Unreaped bool `json:"-"` // its launcher does not wait for it
}

// standInName is the first argument by which a process knows that it is one, and
// standInEnv what it is to do.
const (
	standInName = "firecracker"
	standInEnv  = "TAPWATCH_DRILL_STAND_IN"
)

// StandsIn says whether this process is to stand in for a Firecracker.
func StandsIn() bool {
	return filepath.Base(os.Args[0]) == standInName && os.Getenv(standInEnv) != ""
}

// StandIn does so until its input ends, which it does with the drill.
func StandIn() error {
	var s standIn
	if err := json.Unmarshal([]byte(os.Getenv(standInEnv)), &s); err != nil {
		return fmt.Errorf("stand in for a Firecracker: %w", err)
	}
	if s.Attach {
		tap, err := openTap(e2b.Tap, s.flags())
		if err != nil {
			return fmt.Errorf("stand in for a Firecracker: %w", err)
		}
		defer tap.Close()
	}
	if s.Stalls {
		if err := stall(); err != nil {
			return fmt.Errorf("stand in for a Firecracker: %w", err)
		}
	}
	ln, err := net.Listen("unix", os.Args[len(os.Args)-1])
	if err != nil {
		return fmt.Errorf("stand in for a Firecracker: %w", err)
	}
	srv := &http.Server{Handler: s, ReadHeaderTimeout: time.Minute}
	go func() { _ = srv.Serve(ln) }() // until the end
	fmt.Println(standsReady, os.Getpid())
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// standsReady is what one prints once it can be asked, before its pid.
const standsReady = "ready"

func (s standIn) flags() uint16 {
	flags := uint16(unix.IFF_TAP | unix.IFF_NO_PI)
	if s.VnetHdr {
		flags |= unix.IFF_VNET_HDR
	}
	return flags
}

// ServeHTTP answers as Firecracker's API does, by its documentation.
func (s standIn) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	type nic struct {
		ID  string `json:"iface_id"`
		Tap string `json:"host_dev_name"`
		MAC string `json:"guest_mac"`
	}
	var answer any
	switch {
	case s.State == "":
		<-r.Context().Done()
		return
	case r.Method == http.MethodGet && r.URL.Path == "/":
		answer = map[string]string{"id": "drill", "state": s.State, "vmm_version": "1.10.1", "app_name": "Firecracker"}
	case r.Method == http.MethodGet && r.URL.Path == "/vm/config":
		nics := []nic{}
		if s.NIC {
			nics = append(nics, nic{"eth0", e2b.Tap, guestMAC})
		}
		answer = map[string]any{"machine-config": map[string]int{"vcpu_count": 1}, "drives": []any{}, "network-interfaces": nics}
	default:
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	_ = json.NewEncoder(w).Encode(answer) // who asked may have gone
}

// attached is a stand-in that holds its tap as Firecracker does, in that state.
func attached(state string) *standIn {
	return &standIn{State: state, NIC: true, Attach: true, VnetHdr: true}
}

func unreaped(s *standIn) *standIn {
	s.Unreaped = true
	return s
}

// apiSocket is where E2B has the API of a sandbox's Firecracker.
func apiSocket(dir, id string) string {
	return filepath.Join(dir, "fc-"+strings.ToLower(id)+"-drill.sock")
}
