package slots

import (
	"testing"
	"time"

	"tapwatch/agent/path"
	"tapwatch/internal/netns"
)

// echoes is how long a proxy goes on with a request that its client gave up.
const echoes = 2 * time.Second

// What may come of the agent's own questions is not taken for traffic.
func TestOwnTraces(t *testing.T) {
	start := time.Now()
	later := func(d time.Duration) time.Time { return start.Add(d) }
	var a asked
	var seen traffic
	const envd = len(Traced) - 1
	takes := func(what string, good time.Time, want bool) {
		t.Helper()
		if got := seen.takes(&Traces{envd: {Good: good}}, &a); got != want {
			t.Errorf("%s: taken %t", what, got)
		}
	}
	takes("before any question", later(-time.Minute), true)
	takes("the same again", later(-time.Minute), false)
	a.begins(AtTap, start)
	a.begins(ThroughPath, start)
	takes("while they are open", time.Now(), false)
	a.ends(path.Health{Code: 204}, echoes)
	takes("while one is", time.Now(), false)
	a.ends(path.Health{Error: "no answer in 2s"}, echoes)
	takes("an answer that comes late", time.Now().Add(echoes/2), false)
	if good := seen.real[envd].Good; !good.Equal(later(-time.Minute)) {
		t.Errorf("the last real answer was at %v", good)
	}
	takes("long after", time.Now().Add(2*echoes), true)
	a.begins(AtTap, start)
	takes("that again, and another question begins", time.Now().Add(2*echoes), false)
}

func TestServed(t *testing.T) {
	since := time.Unix(100, 0)
	proxy, relay, tap, envd := 0, 1, 2, 3
	if Traced != [4]path.Hop{path.Proxy, path.Relay, path.Tap, path.Envd} {
		t.Fatal(Traced)
	}
	for name, c := range map[string]struct {
		good, bad map[int]int64 // by hop, seconds after since
		want      [Ways]bool
	}{
		"nothing seen":               {},
		"answered long ago":          {good: map[int]int64{proxy: -5, envd: -5}},
		"answered":                   {good: map[int]int64{proxy: 5, relay: 5, tap: 5, envd: 5}, want: [Ways]bool{true, true}},
		"not joined at the proxy":    {good: map[int]int64{relay: 5, tap: 5, envd: 5}, want: [Ways]bool{AtTap: true}},
		"only the tap has":           {good: map[int]int64{tap: 5, envd: -5}},
		"a connection failed since":  {good: map[int]int64{proxy: 5, envd: 5}, bad: map[int]int64{relay: 6}},
		"one failed before":          {good: map[int]int64{proxy: 5, envd: 5}, bad: map[int]int64{envd: 4}, want: [Ways]bool{true, true}},
		"one failed before this age": {good: map[int]int64{envd: 5}, bad: map[int]int64{envd: -4}, want: [Ways]bool{AtTap: true}},
	} {
		var seen traffic
		for hop, at := range c.good {
			seen.real[hop].Good = since.Add(time.Duration(at) * time.Second)
		}
		for hop, at := range c.bad {
			seen.real[hop].Bad = since.Add(time.Duration(at) * time.Second)
		}
		for way, hop := range shows {
			if got := seen.served(hop, since); got != c.want[way] {
				t.Errorf("%s: asking by way %d is spared: %t", name, way, got)
			}
		}
	}
}

// All ways together do not exceed the limit, and nobody is left out for good.
func TestQuestionsAreLimited(t *testing.T) {
	w := newWorld(t)
	const most = 64
	const sandboxes = most // two questions each
	for c := range netns.Cookie(sandboxes) {
		p := recorded("i", process(int(100+c)))
		p.Addrs.Guest = guest
		w.space(10+c, p)
		w.tap(10+c, 2, "tap0", path.Yes)
	}
	w.hold()
	w.judge(path.Diagnosis{State: path.OK})
	now, asked := time.Now(), map[Key]int{}
	for range 2 {
		due := w.DueQuestions(now, Due{Idle: now.Add(-time.Minute)}, most)
		if len(due) != most {
			t.Errorf("%d questions at one time", len(due))
		}
		for _, q := range due {
			asked[q.Key]++
			w.TakeAnswer(q, path.Health{Code: 204}, 0, true)
		}
		now = now.Add(time.Second)
	}
	for k, n := range asked {
		if n != len(shows) {
			t.Errorf("%v was asked %d times", k, n)
		}
	}
	if due := w.DueQuestions(now, Due{Idle: now.Add(-time.Minute)}, most); len(asked) != sandboxes || len(due) != 0 {
		t.Errorf("%d were asked, %d questions are due again", len(asked), len(due))
	}
}

// Who has been asked for nothing is asked once; who was asked, waits, or has just come, is not.
func TestSilentSandboxIsAsked(t *testing.T) {
	w := newWorld(t)
	p := recorded("i", process(70))
	p.Addrs.Guest = guest
	w.space(10, p)
	w.tap(10, 2, "tap0", path.Yes)
	w.hold()
	w.judge(path.Diagnosis{State: path.OK})
	now := time.Now()
	due := func(after time.Duration) []Question {
		at := now.Add(after)
		return w.DueQuestions(at, Due{Silent: at.Add(-30 * time.Second)}, 8)
	}
	if q := due(10 * time.Second); len(q) != 0 {
		t.Errorf("it has just come: %+v", q)
	}
	q := due(31 * time.Second)
	if len(q) != 1 || q[0].Way != AsProxy {
		t.Fatalf("%+v", q)
	}
	w.TakeAnswer(q[0], path.Health{Code: 204}, 0, true)
	if q := due(50 * time.Second); len(q) != 0 {
		t.Errorf("it was asked: %+v", q)
	}
	st := w.taps[netns.Device{Netns: 10, Ifindex: 2}].stay
	st.ofRelay.recent = []ended{{at: now.Add(60 * time.Second), answered: 1}}
	if q := due(80 * time.Second); len(q) != 0 {
		t.Errorf("others asked: %+v", q)
	}
	st.ofGuest.waits.All = 1
	if q := due(200 * time.Second); len(q) != 0 {
		t.Errorf("others wait: %+v", q)
	}
	st.ofGuest.waits.All = 0
	if q := due(200 * time.Second); len(q) != 1 {
		t.Errorf("nobody asks any more: %+v", q)
	}
}

// A request that the guest has taken and does not answer has its sandbox asked, again and
// again: clients that give up and ask anew must not hide an envd that hangs.
func TestSlowSandboxIsAsked(t *testing.T) {
	w := newWorld(t)
	p := recorded("i", process(70))
	p.Addrs.Guest = guest
	w.space(10, p)
	w.tap(10, 2, "tap0", path.Yes)
	w.hold()
	w.judge(path.Diagnosis{State: path.OK})
	now := time.Now()
	st := w.taps[netns.Device{Netns: 10, Ifindex: 2}].stay
	due := func(after time.Duration, wait path.Wait) []Question {
		at := now.Add(after)
		wait.Since = at.Add(-4 * time.Second)
		st.ofGuest.waits = Waiting{1, []path.Wait{wait}}
		return w.DueQuestions(at, Due{Slow: at.Add(-path.SlowAfter)}, 8)
	}
	if q := due(0, path.Wait{}); len(q) != 0 {
		t.Errorf("it was not acknowledged: %+v", q)
	}
	q := due(time.Second, path.Wait{Acked: true})
	if len(q) != 1 || q[0].Way != AtTap {
		t.Fatalf("%+v", q)
	}
	w.TakeAnswer(q[0], path.Health{Connected: true, Error: "no answer"}, 0, true)
	if q := due(5*time.Second, path.Wait{Acked: true}); len(q) != 0 {
		t.Errorf("it was just asked: %+v", q)
	}
	if q := due(12*time.Second, path.Wait{Acked: true}); len(q) != 1 {
		t.Errorf("it waits still: %+v", q)
	}
}
