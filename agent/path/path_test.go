package path

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestTristateJSON(t *testing.T) {
	var zero Tristate
	for _, tt := range []struct {
		value Tristate
		json  string
	}{{zero, `"unknown"`}, {Unknown, `"unknown"`}, {Known(false), `"no"`}, {Known(true), `"yes"`}} {
		b, err := json.Marshal(tt.value)
		if err != nil || string(b) != tt.json {
			t.Errorf("%v becomes %s, %v, want %s", tt.value, b, err, tt.json)
		}
		back := Yes
		if err := json.Unmarshal(b, &back); err != nil || back != tt.value {
			t.Errorf("%s is read as %v, %v, want %v", b, back, err, tt.value)
		}
	}
	got := Yes
	if err := json.Unmarshal([]byte(`"perhaps"`), &got); err != nil || got != Unknown {
		t.Errorf("a word of a newer agent is read as %v, %v, want unknown", got, err)
	}
}

// noCarrier is a slot whose VMM has not opened the tap.
func noCarrier() Slot {
	return Slot{
		Facts: Facts{
			Netns:   "ns-7",
			Sandbox: &Sandbox{ID: "i1", Name: "no-carrier"},
			Proxy:   Listener{Addr: "127.0.0.1:49983"},
			Relay:   Listener{Addr: "10.12.0.15:49983"},
			Device:  Device{Name: "tap0", Addr: "169.254.0.22", GuestAddr: "169.254.0.21", Carrier: Yes},

			CloseLook: &NotLooked,
		},
		Diagnosis: Diagnosis{State: Broken, Hops: []HopState{
			{Hop: Proxy, State: OK, Detail: "listens"},
			{Hop: Tap, State: Broken, Detail: "NO-CARRIER: the VMM runs (pid 4242) but has not opened tap0"},
			{Hop: Guest, State: Undecided, Detail: "behind the break"},
		}, Findings: []Finding{{Code: "vmm-not-attached", Hop: Tap, Severity: Critical, Cause: "NO-CARRIER", Evidence: []string{"tap0 in ns-7 has no carrier"}, Fix: "its network interface was not configured"}}},
	}
}

// TestSlotJSON holds what clients of the API read: what is unknown says so, and
// nothing is lost on the way.
func TestSlotJSON(t *testing.T) {
	empty, err := json.Marshal(Slot{})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"carrier":"unknown"`, `"exists":"unknown"`, `"listening":"unknown"`, `"holders":null`, `"traffic":null`, `"sandbox":null`} {
		if !strings.Contains(string(empty), want) {
			t.Errorf("nothing is known, and %s is not in %s", want, empty)
		}
	}

	full := noCarrier()
	full.Now = time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	full.Cookie = 1<<53 + 1 // more than a float64 holds
	full.Device.Holders = []Holder{}
	full.Traffic = &Traffic{ReceivePackets: 1<<64 - 1, LastReceive: full.Now}
	b, err := json.Marshal(full)
	if err != nil {
		t.Fatal(err)
	}
	var back Slot
	if err := json.Unmarshal(b, &back); err != nil || !reflect.DeepEqual(back, full) {
		t.Errorf("%v\ngot  %+v\nwant %+v", err, back, full)
	}
	if back.Device.Holders == nil {
		t.Error("nobody holds the tap has become: it is unknown who does")
	}
}
