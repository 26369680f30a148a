package path

import (
	"slices"
	"time"
)

// VMMAPI is what a VMM said when it was asked by its own API.
type VMMAPI struct {
	Time   time.Time `json:"time"` // of the question
	Socket string    `json:"socket"`
	// Error is why nothing was learned; empty: it answered, and what follows is known.
	Error string `json:"error,omitempty"`
	Gone  bool   `json:"gone,omitempty"` // nobody takes connections at the socket
	// Answered is set where it did answer, though nothing was learned of it.
	Answered bool `json:"answered,omitempty"`
	// SilentSince is the first of the questions that all went without an answer
	// since; zero: the last was answered.
	SilentSince time.Time      `json:"silent_since,omitzero"`
	State       string         `json:"state,omitempty"`
	Interfaces  []VMMInterface `json:"interfaces"` // nil: unknown
}

// The states of a Firecracker, in its own words.
const (
	VMMRunning    = "Running"
	VMMPaused     = "Paused"
	VMMNotStarted = "Not started"
)

// VMMInterface is a network interface that a VMM was told to give its guest.
type VMMInterface struct {
	ID       string `json:"id"`
	Device   string `json:"device"`              // host_dev_name
	GuestMAC string `json:"guest_mac,omitempty"` // empty: the guest's own choice
}

// User is whom the kernel takes a process for.
type User struct {
	UID      uint32   `json:"uid"`  // effective
	GIDs     []uint32 `json:"gids"` // the effective one, and the supplementary ones
	NetAdmin Tristate `json:"net_admin"`
}

// MayOpen says whether that process may open the tap, by the rule of tun_not_capable
// in drivers/net/tun.c.
func (u User) MayOpen(t Tun) Tristate {
	mine := t.Owner == nil || *t.Owner == u.UID
	ours := t.Group == nil || slices.Contains(u.GIDs, *t.Group)
	if mine && ours {
		return Yes
	}
	return u.NetAdmin
}
