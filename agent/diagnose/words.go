package diagnose

import (
	"cmp"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"tapwatch/agent/path"
	"tapwatch/internal/e2b"
)

// Words that depend on where the path is and on who made it.

// where names the namespace, in the middle of a sentence.
func where(f path.Facts) string {
	if f.Host {
		return named(hostName)
	}
	return f.Netns
}

// hostName is what the agent calls its own namespace.
const hostName = "host"

// named is the name of a namespace, in the middle of a sentence.
func named(netns string) string {
	if netns == hostName {
		return "the host's namespace"
	}
	if netns == "" {
		return "a namespace that is not known here"
	}
	return netns
}

// ip is the command ip for the namespace. The agent's own needs no -n.
func ip(f path.Facts) string {
	if f.Host {
		return "ip"
	}
	return ipIn(f.Netns)
}

func ipIn(netns string) string {
	if netns == hostName {
		return "ip"
	}
	if netns == "" {
		netns = "NETNS"
	}
	return "ip -n " + netns
}

// in is what stands before a command that is to run in the namespace, with a blank at
// its end.
func in(f path.Facts) string {
	if f.Host {
		return ""
	}
	return "ip netns exec " + f.Netns + " "
}

// vpeer names the namespace's end of the veth pair.
func vpeer(f path.Facts) string {
	return cmp.Or(f.Veth.Peer, "the namespace's end of the veth pair")
}

// envdAt is where envd listens, as the namespace reaches it.
func envdAt(f path.Facts) string {
	return net.JoinHostPort(f.Device.GuestAddr, strconv.Itoa(int(cmp.Or(f.ServicePort, e2b.EnvdPort))))
}

// within says how long an answer was waited for, after what was asked; empty: not known.
func within(d time.Duration) string {
	if d <= 0 {
		return ""
	}
	return " within " + inWords(d)
}

// vmmPID is the VMM's pid in a command; the word PID where it is not known.
func vmmPID(f path.Facts) string {
	if f.Sandbox.VMMPID == 0 {
		return "PID"
	}
	return strconv.Itoa(f.Sandbox.VMMPID)
}

// top is the command that shows what the VMM's threads use.
func top(f path.Facts) string { return "top -H -p " + vmmPID(f) }

// times counts what happened, in words.
func times[N uint32 | uint64](n N) string {
	switch n {
	case 1:
		return "once"
	case 2:
		return "twice"
	}
	return fmt.Sprintf("%d times", n)
}

// started is how to start a VMM in the namespace, in brackets.
func started(f path.Facts) string {
	if f.Host {
		return ""
	}
	return " (" + in(f) + "...)"
}

// isFirecracker says whether the VMM is one, by the name of its process or by what knows
// it.
func isFirecracker(f path.Facts) bool {
	return strings.HasPrefix(f.Sandbox.VMMCommand, "firecracker") || f.Sandbox.API != nil || f.Sandbox.Source == "firecracker"
}
