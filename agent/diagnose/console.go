package diagnose

import (
	"cmp"
	"slices"
	"time"

	"tapwatch/agent/path"
)

// What the guest's console says. The guest writes it, so it counts only while
// the guest has not shown the contrary.

// said returns the console's line of that code.
func said(f path.Facts, code string) (evidence []string, ok bool) {
	line, ok := lineOf(f, code)
	if !ok {
		return nil, false
	}
	return []string{cmp.Or(f.Sandbox.ConsoleFile, "console") + ": " + line.Line}, true
}

func lineOf(f path.Facts, code string) (path.ConsoleFault, bool) {
	i := slices.IndexFunc(f.Sandbox.Console, func(s path.ConsoleFault) bool { return s.Code == code })
	if i < 0 {
		return path.ConsoleFault{}, false
	}
	return f.Sandbox.Console[i], true
}

// hookedLate is how long after a sandbox was made its tap may get hooks that still see all
// of its guest's frames: no guest is up sooner.
const hookedLate = 2 * time.Second

// saidAtTheEnd returns the console's line of that code, which says that the guest's kernel
// has ended. Whoever may write to a guest's console may say so too: it counts where the
// VMM has ended, and where the guest has sent nothing since and either never did or does
// not answer. That it never did says nothing where the hooks came later than the guest.
func saidAtTheEnd(f path.Facts, code string) (evidence []string, ok bool) {
	line, ok := lineOf(f, code)
	if !ok {
		return nil, false
	}
	switch t := f.Traffic; {
	case f.Sandbox.VMMAlive == path.No:
	case t == nil && (f.Health.Connected || f.Health.Refused):
		return nil, false
	case t == nil:
	case t.LastReceive.After(line.Read):
		return nil, false
	case (everHeard(f) || t.Since.After(f.Sandbox.Since.Add(hookedLate))) && unansweredFor(f) <= Patience:
		return nil, false
	}
	return said(f, code)
}
