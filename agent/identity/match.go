package identity

import (
	"path"
	"slices"
	"strings"
)

// fact is what a condition asks for, the cheap ones first.
type fact uint8

const (
	factNetns fact = iota
	factDevice
	factKind
	factCommand
	factProgram
	factExe
	factRoot
	factCwd
	factCgroup
	factLauncher
	factSandbox
	factTemplate
	factSocket
	factArg
	factArgs
)

// condition is one regular expression held against one fact.
type condition struct {
	fact    fact
	flag    string // of factArg
	pattern pattern
}

// view is the facts with what is read from them once for all rules. It stays on
// the stack.
type view struct {
	Facts               // by value: behind a pointer it would have to live on the heap
	exe, argv0   string // base names
	socket, args string
	haveSocket   bool
	haveArgs     bool
}

// Longest strings that are looked through: any process may have a command line of
// megabytes.
const (
	maxArg  = 4 << 10
	maxArgs = 64 << 10
)

func newView(f Facts) view {
	v := view{Facts: f, exe: base(f.Exe)}
	if len(f.Args) > 0 {
		v.argv0 = base(f.Args[0])
	}
	return v
}

// base is the last element of a path, "" for none.
func base(s string) string {
	if s == "" {
		return ""
	}
	return path.Base(s)
}

func clip(s string, n int) string { return s[:min(n, len(s))] }

// subject returns the string that a condition is held against.
func (v *view) subject(c *condition) (s string, known bool) {
	switch c.fact {
	case factNetns:
		s = v.Netns
	case factDevice:
		s = v.Device
	case factKind:
		s = v.Kind
	case factCommand:
		s = v.Command
	case factExe:
		s = v.Exe
	case factRoot:
		s = v.Root
	case factCwd:
		s = v.Cwd
	case factCgroup:
		s = v.Cgroup
	case factSocket:
		s = v.apiSocket()
	case factArg:
		s = clip(argument(v.Args, c.flag), maxArg)
	case factArgs:
		s = v.joined()
	case factLauncher:
		s = v.Launcher
	case factSandbox:
		s = v.SandboxID
	case factTemplate:
		s = v.Template
	}
	return s, s != ""
}

// holds reports whether a condition holds, and which string it was.
func (v *view) holds(c *condition) (subject string, ok bool) {
	if c.fact == factProgram {
		return v.program(&c.pattern)
	}
	s, known := v.subject(c)
	return s, known && c.pattern.matches(s)
}

func (v *view) program(p *pattern) (string, bool) {
	switch {
	case v.exe != "" && p.matches(v.exe):
		return v.exe, true
	case v.argv0 != "" && p.matches(v.argv0):
		return v.argv0, true
	case v.exe == "" && v.argv0 == "" && v.Command != "":
		return v.Command, p.matches(v.Command)
	}
	return "", false
}

func (v *view) joined() string {
	if v.haveArgs {
		return v.args
	}
	v.haveArgs = true
	n := 0
	for i, a := range v.Args {
		if n += len(a) + 1; n > maxArgs {
			v.args = clip(strings.Join(v.Args[:i+1], " "), maxArgs)
			return v.args
		}
	}
	v.args = strings.Join(v.Args, " ")
	return v.args
}

// apiSocket returns the path of the VMM's API: Firecracker's --api-sock or Cloud
// Hypervisor's --api-socket.
func (v *view) apiSocket() string {
	if v.haveSocket {
		return v.socket
	}
	v.haveSocket = true
	s := v.APISocket
	if s == "" {
		s = argument(v.Args, "--api-sock")
	}
	if s == "" {
		s = argument(v.Args, "--api-socket")
		if first, _, _ := strings.Cut(s, ","); strings.HasPrefix(s, "path=") {
			s = first[len("path="):]
		} else if strings.HasPrefix(s, "fd=") { // it is handed over open
			s = ""
		}
	}
	if s != "" && s[0] != '/' {
		s = path.Join(v.Cwd, s)
	}
	v.socket = clip(s, maxArg)
	return v.socket
}

// Firecracker's name, and its default for --api-sock (DEFAULT_API_SOCK_PATH in its
// src/firecracker/src/main.rs).
const (
	firecracker       = "firecracker"
	firecrackerSocket = "/run/firecracker.socket"
)

// defaultSocket returns where a Firecracker listens that was not told where.
func (v *view) defaultSocket() string {
	named := strings.HasPrefix(v.exe, firecracker) || strings.HasPrefix(v.argv0, firecracker)
	if !named || len(v.Args) == 0 || slices.Contains(v.Args, "--no-api") {
		return ""
	}
	return firecrackerSocket
}

// argument returns the value of a flag: `--flag value` or `--flag=value`, the
// first of several, "" for none.
func argument(args []string, flag string) string {
	for i := 1; i < len(args); i++ {
		a := args[i]
		if !strings.HasPrefix(a, flag) {
			continue
		}
		if len(a) == len(flag) {
			if i+1 < len(args) {
				return args[i+1]
			}
			return ""
		}
		if a[len(flag)] == '=' {
			return a[len(flag)+1:]
		}
	}
	return ""
}
