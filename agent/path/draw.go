package path

import (
	"fmt"
	"io"
	"strings"
)

// Draw writes a path as a picture, one line a hop, with the place where it
// breaks, the cause, the evidence and the fix. Color adds ANSI colours.
func Draw(w io.Writer, s Slot, color bool) {
	paint := painter(color)
	if s.Sandbox == nil {
		fmt.Fprintf(w, "%s  idle slot, healthy: %s\n", s.Netns, idleWords(s))
		return
	}
	fmt.Fprintf(w, "%s  %s in %s%s: %s\n", title(s), s.Sandbox.ID, s.Netns, shapeWords(s.Sandbox.Shape), paint(s.Diagnosis.State, string(s.Diagnosis.State)))
	at := s.Diagnosis.BrokenAt()
	for _, h := range s.Diagnosis.Hops {
		mark, lost := marks[h.State], ""
		if h.Hop == at {
			lost = paint(h.State, "   <- lost here")
		}
		line := fmt.Sprintf("  %-6s %-34s %s %s", h.Hop, Place(s, h.Hop), paint(h.State, mark), h.Detail)
		fmt.Fprintln(w, strings.TrimRight(line, " ")+lost)
	}
	for _, f := range s.Diagnosis.Findings {
		fmt.Fprintf(w, "  cause     %s\n", f.Cause)
		for _, e := range f.Evidence {
			fmt.Fprintf(w, "  evidence  %s\n", e)
		}
		fmt.Fprintf(w, "  to do     %s\n", f.Fix)
		fmt.Fprintf(w, "  see       docs/checks/%s.md\n", f.Code)
	}
	for _, u := range s.Inside.Unread { // what was not looked at may be wrong too
		fmt.Fprintf(w, "  unknown   %s: %s\n", u.What, u.Because)
	}
}

func idleWords(s Slot) string {
	switch s.Device.Carrier {
	case No:
		return "no sandbox is bound, so " + s.Device.Name + " has no carrier"
	case Yes:
		return "no sandbox is bound, yet somebody holds " + s.Device.Name
	}
	return "no sandbox is bound"
}

// shapeWords says why no relay listens in a path.
func shapeWords(shape string) string {
	if HasRelay(shape) {
		return ""
	}
	return ", " + shape + " path"
}

var marks = map[State]string{OK: "ok     ", Broken: "BROKEN ", Undecided: "?      ", Booting: "booting"}

func title(s Slot) string {
	if s.Sandbox.Name != "" {
		return s.Sandbox.Name
	}
	return "sandbox"
}

// Place says where a hop is, in the words of the kernel.
func Place(s Slot, h Hop) string {
	switch h {
	case Proxy:
		return s.Proxy.Addr
	case Relay:
		if s.Sandbox != nil && s.Sandbox.Shape == "dnat" {
			return "DNAT in " + s.Netns
		}
		return s.Relay.Addr + " in " + s.Netns
	case Tap:
		return s.Device.Name + " " + s.Device.Addr
	case Guest:
		return "eth0 " + s.Device.GuestAddr
	case Envd:
		return s.Device.GuestAddr + ":49983"
	}
	return ""
}

func painter(color bool) func(State, string) string {
	codes := map[State]string{OK: "32", Broken: "1;31", Undecided: "33", Booting: "36"}
	return func(s State, text string) string {
		if !color || codes[s] == "" {
			return text
		}
		return "\x1b[" + codes[s] + "m" + text + "\x1b[0m"
	}
}
