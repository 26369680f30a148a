package discover

import (
	"bytes"
	"path"
	"strings"
	"time"

	"tapwatch/internal/netns"
	"tapwatch/internal/proc"
)

// VMM is a Firecracker process that was found running, with E2B's command line.
type VMM struct {
	SandboxID string
	Socket    string // of its API, as it sees it
	Process   proc.Process
	Started   time.Time    // UTC
	Netns     netns.Cookie // where it is; 0: could not be read
	Inode     uint64       // of that namespace
	// Zombie is set where it has ended and nobody has waited for it: its launcher
	// still counts on it.
	Zombie bool
}

// parseVMM reads a command line as /proc has it, its arguments ended by zero
// bytes, and returns the sandbox that a Firecracker serves and its API's socket.
// The shells and the `ip netns exec` that start one have another first argument
// until they exec.
func parseVMM(cmdline []byte) (sandboxID, socket string, ok bool) {
	first, rest, _ := bytes.Cut(cmdline, []byte{0})
	if path.Base(string(first)) != "firecracker" {
		return "", "", false
	}
	args := strings.Split(string(rest), "\x00")
	for i, a := range args {
		if a == "--api-sock" && i+1 < len(args) {
			return parseSocket(args[i+1])
		}
		if v, found := strings.CutPrefix(a, "--api-sock="); found {
			return parseSocket(v)
		}
	}
	return "", "", false
}

// parseSocket reads the sandbox from /tmp/fc-{sandboxID}-{random}.sock. The
// directory may be another, and the id may hold dashes. A path that could not
// stand in a command line as it is is not given: any process may have one.
func parseSocket(socket string) (sandboxID, plain string, ok bool) {
	s, prefixed := strings.CutPrefix(path.Base(socket), "fc-")
	s, suffixed := strings.CutSuffix(s, ".sock")
	i := strings.LastIndexByte(s, '-')
	if !prefixed || !suffixed || i < 1 {
		return "", "", false
	}
	if strings.ContainsFunc(socket, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("/._-+@:", r)
	}) {
		socket = ""
	}
	return s[:i], socket, true
}
