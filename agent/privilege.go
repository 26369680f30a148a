package agent

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"tapwatch/agent/probe"
	"tapwatch/internal/caps"
)

// privilege is a capability that the agent uses.
type privilege struct {
	cap   caps.Cap
	modes []probe.Mode // that use it; nil: all
	must  bool         // nothing works without it
}

// privileges is all that the agent uses, and what for; docs/operations.md has it
// for people.
var privileges = []privilege{
	{unix.CAP_BPF, nil, true},                                             // programs and maps
	{unix.CAP_PERFMON, nil, true},                                         // programs that read the kernel's memory
	{unix.CAP_NET_ADMIN, nil, true},                                       // nsids, links by nsid, hooks
	{unix.CAP_NET_BROADCAST, nil, true},                                   // links of all namespaces
	{unix.CAP_SYS_ADMIN, []probe.Mode{probe.ModeTC, probe.ModeTCX}, true}, // setns, for hooks on devices
	{unix.CAP_SYS_ADMIN, []probe.Mode{"", probe.ModeAuto}, false},         // without it auto is tracepoint
	{unix.CAP_NET_RAW, nil, false},                                        // where packets of failing paths are lost
	{unix.CAP_SYS_PTRACE, nil, false},                                     // namespaces of others' processes
}

// privilegesOf returns what a mode uses.
func privilegesOf(m probe.Mode) (of []privilege) {
	for _, p := range privileges {
		if p.modes == nil || slices.Contains(p.modes, m) {
			of = append(of, p)
		}
	}
	return of
}

// needPrivileges says which capabilities are missing in a mode.
func needPrivileges(m probe.Mode) error {
	have, err := caps.Own()
	if err != nil {
		return err
	}
	var missing []string
	for _, p := range privilegesOf(m) {
		if p.must && !have.Has(p.cap) {
			missing = append(missing, p.cap.String())
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("the agent needs %s: run it as root", strings.Join(missing, ", "))
	}
	return nil
}

// heldPrivileges says of each capability that a mode uses whether it is there,
// under the names that the metric has for them.
func heldPrivileges(m probe.Mode) (map[string]bool, error) {
	have, err := caps.Own()
	if err != nil {
		return nil, err
	}
	all := map[string]bool{}
	for _, p := range privilegesOf(m) {
		all[strings.ToLower(p.cap.String())] = have.Has(p.cap)
	}
	return all, nil
}

// dropPrivileges gives up, for good and for all threads, what a mode does not
// use. It needs a binary without cgo, as ours are, and returns caps.ErrCgo in others.
func dropPrivileges(m probe.Mode) error {
	have, err := caps.Own()
	if err != nil {
		return err
	}
	var keep caps.Set
	for _, p := range privilegesOf(m) {
		if have.Has(p.cap) {
			keep = keep.With(p.cap)
		}
	}
	return caps.Keep(keep)
}
