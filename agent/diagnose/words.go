package diagnose

import (
	"cmp"
	"fmt"
	"net"
	"strconv"
	"strings"

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

// logs says where the VMM's words and the guest's console are. Of a foreign sandbox
// only its launcher knows, unless its VMM writes them to a file.
func logs(f path.Facts) string {
	if f.Sandbox.Foreign && f.Sandbox.ConsoleFile != "" {
		return f.Sandbox.ConsoleFile
	}
	if f.Sandbox.Foreign {
		return "the log that its launcher, " + cmp.Or(f.Sandbox.Source, "whichever it is") + ", keeps"
	}
	return "tapwatch sandbox logs " + f.Sandbox.ID
}

// envdAt is where envd listens, as the namespace reaches it.
func envdAt(f path.Facts) string {
	return net.JoinHostPort(f.Device.GuestAddr, strconv.Itoa(int(cmp.Or(f.ServicePort, e2b.EnvdPort))))
}

// times counts what happened, in words.
func times(n uint32) string {
	switch n {
	case 1:
		return "once"
	case 2:
		return "twice"
	}
	return fmt.Sprintf("%d times", n)
}

// inGuest says how to run a command in the guest.
func inGuest(f path.Facts, command string) string {
	if f.Sandbox.Foreign {
		return command + " in the guest"
	}
	return "tapwatch sandbox exec " + f.Sandbox.ID + " -- " + command
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
