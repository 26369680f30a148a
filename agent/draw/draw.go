// Package draw draws paths and histories as text, for terminals and files.
package draw

import (
	"cmp"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"tapwatch/agent/path"
	"tapwatch/internal/registry"
)

// Screen is where a picture is drawn. The zero value is a file.
type Screen struct {
	Color bool // ANSI colours
	Width int  // columns to keep within, as far as words allow; 0: any
}

// Path writes a path as a picture, one line a hop, with the place where it
// breaks, the cause, the evidence and the fix.
func Path(w io.Writer, s path.Slot, on Screen) {
	paint := painter(on.Color)
	switch {
	case s.Sandbox == nil && s.Unidentified != nil:
		drawShort(w, s, unidentifiedWords(s), on)
		return
	case s.Sandbox == nil:
		drawShort(w, s, idleWords(s), on)
		return
	case s.Sandbox.Ending && s.Diagnosis.State == path.Idle:
		fmt.Fprintf(w, "%s  %s in %s: is being removed\n", title(s), s.Sandbox.ID, s.Netns)
		return
	}
	drawTitle(w, s, on)
	at, places := s.Diagnosis.BrokenAt(), placeWidth(s, on)
	for _, h := range s.Diagnosis.Hops {
		head := fmt.Sprintf("  %-6s %-*s ", h.Hop, places, Place(s, h.Hop))
		indent := len(head) + len(marks[h.State]) + 1
		detail, last := on.fold(h.Detail, indent)
		line := strings.TrimRight(head+paint(h.State, marks[h.State])+" "+detail, " ")
		if h.Hop == at {
			arrow := lostHere
			if h.State == path.Booting { // it may yet come
				arrow = soFar
			}
			if on.Width > 0 && last+len(arrow) > on.Width {
				line += "\n" + strings.Repeat(" ", indent) + paint(h.State, strings.TrimSpace(arrow))
			} else {
				line += paint(h.State, arrow)
			}
		}
		fmt.Fprintln(w, line)
	}
	for _, f := range path.BySeverity(s.Diagnosis.Findings) {
		on.Point(w, string(f.Severity), severityWords(s, f))
		on.Point(w, "cause", f.Cause)
		for _, e := range f.Evidence {
			on.Point(w, "evidence", e)
		}
		on.Point(w, "to do", f.Fix)
		on.Point(w, "see", "docs/checks/"+f.Code+".md")
	}
	if s.CloseLook == nil {
		return
	}
	for _, u := range s.Inside.Unread { // what was not looked at may be wrong too
		on.Point(w, "unknown", u.What+": "+u.Because)
	}
}

// severityWords says what a finding means for clients: of a break that no request has
// met lately, what would become of one.
func severityWords(s path.Slot, f path.Finding) string {
	r := s.Requests
	switch {
	case f.Severity != path.Critical || r.Failing(s.Now):
		return f.Severity.Means()
	case r != nil && r.Relay.Bad(s.Now)+r.Guest.Bad(s.Now) > 0:
		return "any request of a client fails now (few did lately)"
	case r != nil && r.Relay.Ended+r.Guest.Ended > 0:
		return "any request of a client fails now (none did lately)"
	}
	return "any request of a client fails now (none was counted lately)"
}

func drawTitle(w io.Writer, s path.Slot, on Screen) {
	state := painter(on.Color)(s.Diagnosis.State, string(s.Diagnosis.State))
	if s.Silence != nil {
		state += ", silenced until " + s.Silence.Until.Local().Format("2006-01-02 15:04")
	}
	fmt.Fprintf(w, "%s  %s in %s%s: %s\n", title(s), s.Sandbox.ID, s.Netns, shapeWords(s.Sandbox.Shape), state)
}

const (
	lostHere = "   <- lost here"
	soFar    = "   <- so far"
)

// placesInFile is wide enough for what places are usually called.
const placesInFile = 34

// placeWidth leaves on a screen what it can to the details.
func placeWidth(s path.Slot, on Screen) int {
	if on.Width == 0 {
		return placesInFile
	}
	n := 0
	for _, h := range s.Diagnosis.Hops {
		n = max(n, len(Place(s, h.Hop)))
	}
	return n
}

// Point writes one point of a finding.
func (on Screen) Point(w io.Writer, what, text string) {
	const indent = 12
	text, _ = on.fold(text, indent)
	fmt.Fprintf(w, "  %-9s %s\n", what, text)
}

// Fold breaks a text that begins at a column between words, so that it stays within
// the screen.
func (on Screen) Fold(text string, indent int) string {
	folded, _ := on.fold(text, indent)
	return folded
}

// fold breaks a text that begins at a column between words, so that it stays within
// the screen, and returns at which column it ends.
func (on Screen) fold(text string, indent int) (folded string, end int) {
	const least = 20 // narrower columns are no use
	if on.Width < indent+least {
		return text, indent + len(text)
	}
	var b strings.Builder
	end = indent
	for i, word := range strings.Fields(text) {
		switch n := utf8.RuneCountInString(word); {
		case i == 0:
			end += n
		case end+1+n > on.Width:
			b.WriteString("\n" + strings.Repeat(" ", indent))
			end = indent + n
		default:
			b.WriteByte(' ')
			end += 1 + n
		}
		b.WriteString(word)
	}
	return b.String(), end
}

// drawShort writes what is to be said of a tap without a sandbox.
func drawShort(w io.Writer, s path.Slot, words string, on Screen) {
	words, _ = on.fold(words, len(s.Netns)+2)
	fmt.Fprintf(w, "%s  %s\n", s.Netns, words)
}

// idleWords says what is known of a tap without a sandbox.
func idleWords(s path.Slot) string {
	what := "idle tap"
	if s.Launcher != "" {
		what = "idle slot"
	}
	if v := s.Stray; v != nil {
		return what + ": " + s.Device.Name + " waits, while the VMM " + v.Command + " (pid " + strconv.Itoa(v.PID) + ") of sandbox " + v.SandboxID +
			" holds a " + v.Device + " in " + v.Netns + ", which nothing leads to: was it meant for here?"
	}
	if k := s.Device.Kind; k != "" && k != "tun" && k != "macvtap" {
		return what + ": its " + s.Device.Name + " is of kind " + k + ", not a tap: no VMM can attach to it"
	}
	switch s.Device.Carrier {
	case path.No:
		return what + ", healthy: no VMM is attached; NO-CARRIER is expected here"
	case path.Yes:
		return strings.TrimPrefix(what, "idle ") + ": " + s.Device.Name + " has carrier, and who holds it is not known"
	}
	return what + ": no sandbox is bound"
}

// unidentifiedWords says what is known of a tap whose holder no rule knows.
func unidentifiedWords(s path.Slot) string {
	h := s.Unidentified
	text := s.Device.Name + ": unidentified: held by " + h.Command + " (pid " + strconv.Itoa(h.PID) + ")"
	switch s.Device.Carrier {
	case path.Yes:
		text += ", carrier"
	case path.No:
		text += ", NO-CARRIER"
	}
	if t := s.Traffic; t != nil {
		text += fmt.Sprintf(", %d frames from it and %d to it", t.ReceivePackets, t.TransmitPackets)
	}
	return text + "; a rule may say whose it is (docs/identity.md)"
}

// shapeWords says why no relay listens in a path.
func shapeWords(shape registry.Shape) string {
	if path.HasRelay(shape) {
		return ""
	}
	return ", " + string(shape) + " path"
}

var marks = map[path.State]string{path.OK: "ok     ", path.Broken: "BROKEN ", path.Undecided: "?      ", path.Booting: "booting", path.Paused: "paused "}

func title(s path.Slot) string {
	if s.Sandbox.Name != "" {
		return s.Sandbox.Name
	}
	return "sandbox"
}

// Place says where a hop is, in the words of the kernel.
func Place(s path.Slot, h path.Hop) string {
	switch h {
	case path.Proxy:
		return s.Proxy.Addr
	case path.Relay:
		if s.Sandbox != nil && s.Sandbox.Shape == registry.DNAT {
			return "DNAT in " + s.Netns
		}
		return cmp.Or(s.Relay.Addr, "unknown address") + " in " + s.Netns
	case path.Tap:
		name := s.Device.Name
		if s.Device.WasCalled != "" {
			name += " (was " + s.Device.WasCalled + ")"
		}
		return strings.TrimSpace(name + " " + s.Device.Addr)
	case path.Guest:
		return "eth0 " + s.Device.GuestAddr
	case path.Envd:
		return s.Device.GuestAddr + ":" + strconv.Itoa(int(s.Port()))
	}
	return ""
}

func painter(color bool) func(path.State, string) string {
	codes := map[path.State]string{path.OK: "32", path.Broken: "1;31", path.Undecided: "33", path.Booting: "36", path.Paused: "36"}
	return func(s path.State, text string) string {
		if !color || codes[s] == "" {
			return text
		}
		return "\x1b[" + codes[s] + "m" + text + "\x1b[0m"
	}
}
