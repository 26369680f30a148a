package diagnose

import (
	"cmp"
	"fmt"

	"tapwatch/agent/path"
)

// What proxy and relay have in common: a process that listens, with a queue of
// connections to accept and files to accept them with.

// bothHops says whether one process is the proxy and the relay: what stops it is found at
// the proxy, once.
func bothHops(f path.Facts) bool {
	return f.Relay.Process.PID != 0 && f.Relay.Process.PID == f.Proxy.Process.PID && f.Relay.Listening == path.Yes
}

// ofProxy says so at the relay, where the proxy's check of the same kind found a problem.
func ofProxy(f path.Facts, proxy Result) (Result, bool) {
	if proxy.verdict != problem || !bothHops(f) {
		return Result{}, false
	}
	if proxy.finding.Severity == path.Warning { // it is well as yet
		return notApplicable(), true
	}
	return unsure("not checked: its process is the proxy's, " + processWords(f.Proxy.Process)), true
}

// proxyName names the proxy in a cause.
func proxyName(f path.Facts) string {
	if bothHops(f) {
		return "the process of both proxy and relay"
	}
	return "the proxy"
}

// noFiles is the check of a proxy's or a relay's file descriptors. Where is the namespace, in words.
func noFiles(l path.Listener, who, where string) Result {
	p := l.Process
	if l.Listening != path.Yes || !p.NearLimit() {
		return notApplicable()
	}
	finding := path.Finding{
		Cause:    fmt.Sprintf("%s, %s, has no file descriptor left: it cannot accept or dial another connection (EMFILE)", who, processWords(p)),
		Evidence: []string{fmt.Sprintf("%s has %d files open of %d (RLIMIT_NOFILE)", processWords(p), p.Files, p.MaxFiles)},
		Fix: fmt.Sprintf("raise it while it runs: prlimit --pid %d --nofile=1048576, then in its unit (LimitNOFILE=); if its files only ever grow (ls /proc/%[1]d/fd), it leaks: restart it",
			p.PID),
	}
	if l.Queue.Max > 0 {
		finding.Evidence = append(finding.Evidence, queueWords(l, where))
	}
	if p.Files < p.MaxFiles {
		finding.Severity = path.Warning
		finding.Cause = fmt.Sprintf("%s, %s, has nearly no file descriptor left: soon it cannot accept or dial another connection", who, processWords(p))
	}
	return wrong(finding)
}

// notAccepting is the check of a proxy or a relay that listens and takes no connection.
func notAccepting(f path.Facts, l path.Listener, who, where string) Result {
	p, since := l.Process, l.Queue.FullSince
	full := !since.IsZero() && f.Now.Sub(since) >= Patience
	if l.Listening != path.Yes || !full && p.Stopped != path.Yes {
		return notApplicable()
	}
	finding := path.Finding{
		Cause: fmt.Sprintf("%s, %s, does not accept: its queue is full, and new connections hang", who, processWords(p)),
		Fix:   "see what it does (its threads' stacks, its CPU): it hangs, or is too slow for what comes; a backlog of a few, as socat's 5, fills in a burst: give it more",
	}
	if p.Stopped == path.Yes {
		finding.Cause = fmt.Sprintf("%s, %s, is stopped (SIGSTOP, or a debugger): it accepts and passes on nothing", who, processWords(p))
		finding.Evidence = []string{fmt.Sprintf("/proc/%d/stat says T: stopped", p.PID)}
		finding.Fix = fmt.Sprintf("let it go on: kill -CONT %d; a debugger that is attached to it must let it go", p.PID)
	} else if p.PID != 0 {
		finding.Evidence = []string{fmt.Sprintf("%s runs, with %d files open of %d", processWords(p), p.Files, p.MaxFiles)}
	}
	if full {
		finding.Evidence = append(finding.Evidence, queueWords(l, where)+", for "+inWords(f.Now.Sub(since)))
	}
	return wrong(finding)
}

func queueWords(l path.Listener, where string) string {
	return fmt.Sprintf("connections that wait to be accepted at %s %s: %d, and it takes %d", l.Addr, where, l.Queue.Waiting, l.Queue.Max)
}

func processWords(p path.Process) string {
	if p.PID == 0 {
		return "whose process is unknown"
	}
	return fmt.Sprintf("%s (pid %d)", cmp.Or(p.Command, "a process"), p.PID)
}
