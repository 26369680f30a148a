package discover

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"tapwatch/internal/netns"
	"tapwatch/internal/nlsafe"
)

// nsids hears namespaces go: RTNLGRP_NSID of the agent's own namespace.
type nsids struct {
	file *os.File
	gone chan netns.NSID // netns.NoNSID: some may have been missed
}

func listenNSIDs() (*nsids, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open namespace event socket: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1 << (unix.RTNLGRP_NSID - 1)}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("open namespace event socket: %w", err)
	}
	return &nsids{file: os.NewFile(uintptr(fd), "netlink"), gone: make(chan netns.NSID, 1024)}, nil
}

// listen reads until the socket is closed. It never waits for its reader: what
// does not fit the channel is made up for by a full scan.
func (n *nsids) listen() {
	defer close(n.gone)
	buf := make([]byte, 8<<10)
	for {
		size, err := n.file.Read(buf)
		switch {
		case errors.Is(err, os.ErrClosed):
			return
		case err != nil:
			n.tell(netns.NoNSID)
			continue
		}
		n.parse(buf[:size])
	}
}

func (n *nsids) parse(b []byte) {
	for len(b) > 0 {
		m, rest, err := nlsafe.Next(b)
		if err != nil {
			n.tell(netns.NoNSID)
			return
		}
		if m.Type == unix.RTM_DELNSID {
			id, _ := netns.ParseNSID(m.Body) // NoNSID where it cannot be read
			n.tell(id)
		}
		b = rest
	}
}

func (n *nsids) tell(id netns.NSID) {
	select {
	case n.gone <- id:
	default: // full: its reader is about to scan
	}
}

func (n *nsids) close() { n.file.Close() }
