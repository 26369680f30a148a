package diagnose

import "tapwatch/agent/path"

// What the guest's console says. The guest writes it, so it counts only while
// the guest has not shown the contrary.

// said returns the console's line of that code.
func said(f path.Facts, code string) (evidence []string, ok bool) {
	for _, s := range f.Sandbox.Console {
		if s.Code == code {
			return []string{"console: " + s.Line}, true
		}
	}
	return nil, false
}
