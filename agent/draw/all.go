package draw

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"tapwatch/agent/path"
)

// wholeHealthy is how many healthy paths are drawn whole; of more each gets a line.
const wholeHealthy = 4

// All draws several paths, the broken ones last, where a terminal still shows them,
// and under them a line that counts and names what is wrong.
func All(w io.Writer, slots []path.Slot, on Screen) {
	slots = slices.Clone(slots)
	slices.SortStableFunc(slots, func(a, b path.Slot) int { return a.Diagnosis.Compare(&b.Diagnosis) })
	healthy := 0
	for _, s := range slots {
		if isHealthy(s) {
			healthy++
		}
	}
	apart := false // a picture has stood before
	for i, s := range slots {
		short := s.Sandbox == nil || s.Diagnosis.State == path.Idle || isHealthy(s) && healthy > wholeHealthy
		if i > 0 && (!short || apart) {
			fmt.Fprintln(w)
		}
		apart = !short
		if short && s.Sandbox != nil && s.Diagnosis.State != path.Idle {
			drawTitle(w, s, on)
			continue
		}
		Path(w, s, on)
	}
	if len(slots) > 1 {
		text, _ := on.fold(Summary(slots), 0)
		fmt.Fprintf(w, "\n%s\n", text)
	}
}

// isHealthy says whether nothing is wrong with a path; one that is paused is as it should be.
func isHealthy(s path.Slot) bool {
	state := s.Diagnosis.State
	return (state == path.OK || state == path.Paused) && len(s.Diagnosis.Findings) == 0
}

// namedMost bounds how many findings a summary names.
const namedMost = 8

// Summary counts paths by state and names what was found, in one line.
func Summary(slots []path.Slot) string {
	counts := map[path.State]int{}
	var found []string
	for _, s := range slots {
		counts[s.Diagnosis.State]++
		for _, f := range s.Diagnosis.Findings {
			found = append(found, f.Code+" in "+s.Netns)
		}
	}
	var parts []string
	for _, state := range path.States {
		if n := counts[state]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, state))
		}
	}
	text := fmt.Sprintf("%d paths: %s", len(slots), strings.Join(parts, ", "))
	if len(found) == 0 {
		return text + "; no findings"
	}
	if more := len(found) - namedMost; more > 0 {
		found = append(found[:namedMost:namedMost], fmt.Sprintf("and %d more", more))
	}
	return text + "; " + strings.Join(found, ", ")
}
