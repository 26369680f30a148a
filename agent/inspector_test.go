package agent

import (
	"log/slog"
	"testing"
	"time"

	"tapwatch/agent/discover"
	"tapwatch/agent/path"
	"tapwatch/internal/ktime"
	"tapwatch/internal/netns"
)

// Trouble that is old is looked at less often than what is new or may change by
// itself, and what has none in its turn only.
func TestHowOftenIsLooked(t *testing.T) {
	now := time.Unix(1000, 0)
	since := func(age time.Duration) path.Finding { return path.Finding{Code: "rule-drops", Since: now.Add(-age)} }
	const times = inspectRarely * turnEvery
	for name, c := range map[string]struct {
		slot *slot
		want int
	}{
		"healthy":           {&slot{diagnosis: path.Diagnosis{State: path.OK}}, times / turnEvery},
		"boots":             {&slot{diagnosis: path.Diagnosis{State: path.Booting}}, times},
		"a request waits":   {&slot{diagnosis: path.Diagnosis{State: path.OK}, hooks: &hooked{envdWaiting: ktime.Moment(1)}}, times},
		"broken just now":   {&slot{diagnosis: path.Diagnosis{State: path.Broken, Findings: []path.Finding{since(0)}}}, times},
		"broken for long":   {&slot{diagnosis: path.Diagnosis{State: path.Broken, Findings: []path.Finding{since(inspectFresh)}}}, times / inspectRarely},
		"and again, by now": {&slot{diagnosis: path.Diagnosis{State: path.Broken, Findings: []path.Finding{since(time.Hour), since(0)}}}, times},
	} {
		s := c.slot
		s.entry = &discover.Entry{Namespace: discover.Namespace{Cookie: netns.Cookie(4)}, Binding: &discover.Binding{}}
		i := newInspector(&model{bound: map[*slot]struct{}{s: {}}}, slog.New(slog.DiscardHandler))
		looks := 0
		for n := range times {
			looks += len(i.choose(n, now))
		}
		if looks != c.want {
			t.Errorf("%s: looked at %d times of %d, want %d", name, looks, times, c.want)
		}
	}
}
