package path

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"testing"
)

func TestEventJSON(t *testing.T) {
	b, err := json.Marshal(Event{Kind: CarrierLost, Netns: "ns-7", Text: "x"})
	if want := `{"time":"0001-01-01T00:00:00Z","kind":"carrier-lost","netns":"ns-7","text":"x"}`; err != nil || string(b) != want {
		t.Errorf("got %s, %v, want %s", b, err, want)
	}
}

// TestEventKinds holds that the list of kinds is whole.
func TestEventKinds(t *testing.T) {
	source, err := os.ReadFile("event.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`EventKind += "([a-z-]+)"`).FindAllStringSubmatch(string(source), -1) {
		if !slices.Contains(EventKinds, EventKind(m[1])) {
			t.Errorf("%s is not in EventKinds", m[1])
		}
	}
}
