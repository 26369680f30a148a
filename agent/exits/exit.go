package exits

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"tapwatch/bpf"
	"tapwatch/internal/ktime"
)

// Exit is a process that ended.
type Exit struct {
	PID     int
	Time    time.Time // by the kernel's clock, as wall-clock time
	Command string    // comm, at most 15 bytes
	Status  unix.WaitStatus
	// By says who sent the signal that it died of; it is Unknown where it died of
	// none. Sender, a pid, and SenderCommand are set where By is Ancestor or Other. A
	// Sender of 0 is a process that /proc does not show: it is outside of the PID
	// namespace.
	By            Sender
	Sender        int
	SenderCommand string
	// HeldTap says whether it had a tap open to its end; Known is false where that
	// could not be read.
	HeldTap, HeldKnown bool
}

// Sender is who sent a signal.
type Sender uint8

// The senders. Ancestor is the process that launched it, or one above that.
const (
	Unknown  = Sender(bpf.ExitsSenderSENDER_UNKNOWN)
	Kernel   = Sender(bpf.ExitsSenderSENDER_KERNEL)
	Itself   = Sender(bpf.ExitsSenderSENDER_ITSELF)
	Ancestor = Sender(bpf.ExitsSenderSENDER_ANCESTOR)
	Other    = Sender(bpf.ExitsSenderSENDER_OTHER)
)

// String says how the process ended, e.g. "was killed by SIGKILL from bash (pid 42)".
func (e Exit) String() string {
	switch {
	case e.Status.Signaled():
		return "was killed by " + e.Signal() + e.from()
	case e.Status.ExitStatus() == 0:
		return "ended with status 0"
	}
	return fmt.Sprintf("ended with status %d", e.Status.ExitStatus())
}

// Signal is the name of the signal that the process died of; empty: of none.
func (e Exit) Signal() string {
	if !e.Status.Signaled() {
		return ""
	}
	if name := unix.SignalName(e.Status.Signal()); name != "" {
		return name
	}
	return fmt.Sprintf("signal %d", e.Status.Signal())
}

func (e Exit) from() string {
	switch e.By {
	case Kernel:
		return " from the kernel" // that it was out of memory only its log tells
	case Itself:
		return " of its own making"
	case Ancestor, Other:
		from := " from " + e.SenderCommand
		if e.Sender != 0 { // else /proc does not show it
			from += fmt.Sprintf(" (pid %d)", e.Sender)
		}
		if e.By == Ancestor {
			from += ", which launched it"
		}
		return from
	}
	return ""
}

// Wanted says whether it ended as it should: with status 0, or by a signal to end from the
// process that launched it, or from nobody knows whom: the signal came before the watch,
// and what is not known is no trouble.
func (e Exit) Wanted() bool {
	if !e.Status.Signaled() {
		return e.Status.ExitStatus() == 0
	}
	switch e.Status.Signal() {
	case unix.SIGTERM, unix.SIGKILL, unix.SIGINT, unix.SIGHUP:
		return e.By == Ancestor || e.By == Unknown
	}
	return false
}

func exitOf(t bpf.ExitsTold) Exit {
	return Exit{
		PID:           int(t.Pid),
		Time:          ktime.Moment(t.Time).Time(),
		Command:       unix.ByteSliceToString(t.Comm[:]),
		Status:        unix.WaitStatus(t.Code),
		By:            Sender(t.By),
		Sender:        int(t.Sender),
		SenderCommand: unix.ByteSliceToString(t.SenderComm[:]),
		HeldTap:       bpf.ExitsHeld(t.Held) == bpf.ExitsHeldHELD_TAP,
		HeldKnown:     bpf.ExitsHeld(t.Held) != bpf.ExitsHeldHELD_UNKNOWN,
	}
}
