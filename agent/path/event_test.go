package path

import (
	"encoding/json"
	"testing"
)

func TestEventJSON(t *testing.T) {
	b, err := json.Marshal(Event{Kind: CarrierLost, Netns: "ns-7", Text: "x"})
	if want := `{"time":"0001-01-01T00:00:00Z","kind":"carrier-lost","netns":"ns-7","text":"x"}`; err != nil || string(b) != want {
		t.Errorf("got %s, %v, want %s", b, err, want)
	}
}
