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
		Cause:    fmt.Sprintf("%s, %s, has no file descriptor left, with %d of %d in use: it cannot accept or dial another connection", who, processWords(p), p.Files, p.MaxFiles),
		Evidence: []string{fmt.Sprintf("%s has %d files open; its limit is %d (RLIMIT_NOFILE)", processWords(p), p.Files, p.MaxFiles)},
		Fix: fmt.Sprintf("raise its limit while it runs (prlimit --pid %d --nofile=1048576), and in its unit (LimitNOFILE=) for its next start; if its open files only ever grow (ls /proc/%[1]d/fd), it leaks them: "+restartIt,
			p.PID),
	}
	if l.Queue.Max > 0 {
		finding.Evidence = append(finding.Evidence, queueWords(l, where))
	}
	if p.Files < p.MaxFiles {
		finding.Severity = path.Warning
		finding.Cause = fmt.Sprintf("%s, %s, has nearly no file descriptor left, with %d of %d in use: soon it cannot accept or dial another connection", who, processWords(p), p.Files, p.MaxFiles)
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
		Cause: fmt.Sprintf("%s, %s, does not accept connections: %d wait in its queue, which takes %d, and new ones hang", who, processWords(p), l.Queue.Waiting, l.Queue.Max),
		Fix:   "see " + doings(l) + ": where it uses no CPU it hangs, so " + restartIt + "; where it uses all of one, it is too slow for what comes; a queue of a few, as socat's 5, fills in a burst: give it more (socat: backlog=128)",
	}
	if p.Stopped == path.Yes {
		finding.Cause = fmt.Sprintf("%s, %s, is stopped (SIGSTOP, or a debugger): it accepts and passes on nothing", who, processWords(p))
		finding.Evidence = []string{stoppedEvidence(p.PID, "stat", "T")}
		finding.Fix = fmt.Sprintf("let it go on (kill -CONT %d); where a debugger is attached to it, that must let it go (TracerPid in /proc/%[1]d/status)", p.PID)
	} else if p.PID != 0 {
		finding.Evidence = []string{fmt.Sprintf("%s runs, with %d files open; its limit is %d", processWords(p), p.Files, p.MaxFiles)}
	}
	if full {
		finding.Evidence = append(finding.Evidence, queueWords(l, where)+", and has been full for "+inWords(f.Now.Sub(since)))
	}
	return wrong(finding)
}

func queueWords(l path.Listener, where string) string {
	return fmt.Sprintf("%d connections wait to be accepted at %s %s; the queue takes %d", l.Queue.Waiting, l.Addr, where, l.Queue.Max)
}

// restartIt is an order with its price.
const restartIt = "restart it (a launcher of sandboxes ends them as it goes)"

// doings is how to see what a process does that listens.
func doings(l path.Listener) string {
	if l.Process.PID == 0 {
		return "what the process does that listens on " + l.Addr + " (ss -ltnp)"
	}
	return fmt.Sprintf("what pid %d does (top -H -p %[1]d)", l.Process.PID)
}

// stoppedEvidence is what the kernel says of a process, or of a thread, that is stopped.
func stoppedEvidence(pid int, file, state string) string {
	return fmt.Sprintf("the kernel says that it is stopped: state %s in /proc/%d/%s", state, pid, file)
}

func processWords(p path.Process) string {
	if p.PID == 0 {
		return "whose process is unknown"
	}
	return fmt.Sprintf("%s (pid %d)", cmp.Or(p.Command, "a process"), p.PID)
}
