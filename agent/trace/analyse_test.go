package trace

import (
	"strings"
	"testing"
	"time"

	"tapwatch/agent/path"
)

// frames reads "point direction what", one frame a line, 10 ms after the last one, with
// "+1s" to let time pass. What is, of a client's port: syn, synack, req, ack, ans, rst;
// or who-has and is-at of ARP.
func frames(t *testing.T, text string) (all []Frame, end time.Time) {
	t.Helper()
	at := time.Unix(100, 0)
	for _, line := range strings.Split(strings.TrimSpace(text), "\n") {
		words := strings.Fields(line)
		if len(words) == 1 {
			d, err := time.ParseDuration(strings.TrimPrefix(words[0], "+"))
			if err != nil {
				t.Fatal(err)
			}
			at = at.Add(d)
			continue
		}
		at = at.Add(10 * time.Millisecond)
		f := Frame{Point: map[string]int{"veth": 0, "eth0": 1, "tap": 2}[words[0]], Out: words[1] == "out", At: at, Client: 40_000}
		if len(words) > 3 {
			f.Client++
		}
		switch words[2] {
		case "syn":
			f.Flags, f.Seq = syn, 1000
		case "synack":
			f.Answer, f.Flags, f.Seq, f.Ack = true, syn|ack, 5000, 1001
		case "req":
			f.Flags, f.Seq, f.Ack, f.Len = ack, 1001, 5001, 100
		case "ack":
			f.Answer, f.Flags, f.Seq, f.Ack = true, ack, 5001, 1101
		case "ans":
			f.Answer, f.Flags, f.Seq, f.Ack, f.Len = true, ack, 5001, 1101, 50
		case "done":
			f.Flags, f.Seq, f.Ack = ack, 1101, 5051
		case "rst":
			f.Answer, f.Flags = true, rst
		case "who-has":
			f.ARP = 1
		case "is-at":
			f.ARP = 2
		default:
			t.Fatal(line)
		}
		all = append(all, f)
	}
	return all, at
}

func TestAnalyse(t *testing.T) {
	points := []Point{{Name: "veth", Hop: path.Relay}, {Name: "eth0", Hop: path.Relay}, {Name: "tap", Hop: path.Tap}}
	relayed := Way{Points: points, Legs: []Leg{
		{Points: []int{0, 1}, Asker: "proxy", AskerHop: path.Proxy, Asked: "relay", AskedHop: path.Relay},
		{Points: []int{2}, Asker: "relay", AskerHop: path.Relay, Asked: "guest", AskedHop: path.Guest},
	}}
	passedOn := Way{Points: points, Legs: []Leg{{Points: []int{0, 1, 2}, Asker: "proxy", AskerHop: path.Proxy, Asked: "guest", AskedHop: path.Guest}}}
	front := "veth out syn\neth0 in syn\neth0 out synack\nveth in synack\nveth out req\neth0 in req\neth0 out ack\nveth in ack\n"
	for name, c := range map[string]struct {
		way    Way
		waits  []Waits
		frames string
		want   string // after > before, hop, what and how many of how many; empty: no loss
	}{
		"all is well":                      {relayed, nil, front + "tap out syn\ntap in synack\ntap out req\ntap in ans\ntap out done\neth0 out ans\nveth in ans\nveth out done\neth0 in done\n+2s", ""},
		"what was just seen may be coming": {relayed, nil, "veth out syn\n+50ms", ""},
		"between the ends of the veth":     {relayed, nil, "veth out syn\n+1s\nveth out syn\n+200ms", "veth > eth0 relay SYNs 1 of 1"},
		"requests, and no SYNs":            {relayed, nil, "veth out syn\neth0 in syn\neth0 out synack\nveth in synack\nveth out req\n+300ms", "veth > eth0 relay requests 1 of 2"},
		"behind the end of the veth":       {relayed, nil, "veth out syn\neth0 in syn\n+1s", "eth0 > relay relay SYNs 1 of 1"},
		"the relay refuses":                {relayed, nil, "veth out syn\neth0 in syn\neth0 out rst\nveth in rst\n+1s", ""},
		"answers between the ends":         {relayed, nil, "veth out syn\neth0 in syn\neth0 out synack\n+1s\nveth out syn\neth0 in syn\neth0 out synack\n+200ms", "eth0 > veth relay SYN-ACKs 1 of 1"},
		"answers behind the veth":          {relayed, nil, "veth out syn\neth0 in syn\neth0 out synack\nveth in synack\n+1s\nveth out syn\neth0 in syn\neth0 out synack\nveth in synack\n+200ms", "veth > proxy proxy SYN-ACKs 1 of 1"},
		"an answer that nobody takes yet":  {relayed, nil, "veth out syn\neth0 in syn\neth0 out synack\nveth in synack\n+2s", ""},
		"nothing comes to the first point": {relayed, []Waits{SYN, Nothing}, "+1300ms", "proxy > veth relay SYNs 1 of 1"},
		"nothing comes to the tap":         {relayed, []Waits{Nothing, Request}, front + "+1300ms", "relay > tap tap packets 1 of 1"},
		"nor a SYN, only older packets":    {relayed, []Waits{Nothing, SYN}, front + "tap out done\n+1300ms", "relay > tap tap SYNs 1 of 1"},
		"nothing came, and ARP may be due": {relayed, []Waits{Nothing, SYN}, front + "+900ms", ""},
		"a SYN that ARP holds up":          {relayed, []Waits{Nothing, SYN}, front + "tap out who-has\n+1300ms", "tap > guest guest ARP requests 1 of 1"},
		"one that ARP has held up shortly": {relayed, []Waits{Nothing, SYN}, front + "+1s\ntap out who-has\n+300ms", ""},
		"nothing waits, and nothing came":  {relayed, []Waits{Nothing, Nothing}, front + "+1s", ""},
		"behind the tap":                   {relayed, []Waits{SYN, SYN}, front + "tap out syn\n+1s\ntap out syn\n+200ms", "tap > guest guest SYNs 1 of 1"},
		"a request behind the tap":         {relayed, nil, front + "tap out syn\ntap in synack\ntap out req\n+1s", "tap > guest guest requests 1 of 2"},
		"an answer that takes its time":    {relayed, nil, front + "tap out syn\ntap in synack\ntap out req\ntap in ack\n+9s", ""},
		"what the guest answers":           {relayed, nil, front + "tap out syn\ntap in synack\n+1s\ntap out syn\ntap in synack\n+200ms", "tap > relay relay SYN-ACKs 1 of 1"},
		"ARP that nobody answers":          {relayed, []Waits{Nothing, Nothing}, front + "tap out who-has\n+1s\ntap out who-has\n+200ms", "tap > guest guest ARP requests 2 of 2"},
		"ARP answers that do not come":     {relayed, []Waits{Nothing, Nothing}, front + "tap out who-has\ntap in is-at\n+1s\ntap out who-has\ntap in is-at\n+1s", "tap > relay relay ARP replies 2 of 2"},
		"one of two":                       {relayed, nil, "veth out syn\nveth out syn other\neth0 in syn\neth0 out synack\nveth in synack\nveth out req\neth0 in req\neth0 out ack\nveth in ack\n+500ms", "veth > eth0 relay SYNs 1 of 3"},
		"passed on, and dropped":           {passedOn, nil, "veth out syn\neth0 in syn\n+500ms", "eth0 > tap tap SYNs 1 of 1"},
		"passed on, the answer dropped":    {passedOn, nil, "veth out syn\neth0 in syn\ntap out syn\ntap in synack\n+500ms", "tap > eth0 relay SYN-ACKs 1 of 1"},
	} {
		t.Run(name, func(t *testing.T) {
			seen, end := frames(t, c.frames)
			c.way.Waits, c.way.Began = c.waits, time.Unix(100, 0)
			got := ""
			if l := Analyse(c.way, seen, end); l != nil {
				got = l.After + " > " + l.Before + " " + string(l.Hop) + " " + l.What + " " + number(l.Count) + " of " + number(l.Of)
			}
			if got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func number(n int) string { return string(rune('0' + n)) }
