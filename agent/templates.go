package agent

import (
	"context"
	"maps"
	"time"

	"tapwatch/agent/path"
	"tapwatch/internal/image"
)

const (
	// templatesEvery is the pause between two looks for templates to read.
	templatesEvery = 500 * time.Millisecond
	// templateAge is how long what was read of a template is good, and
	// templateShare how much longer than its reading: a template of strangers may
	// take long to read, and must not cost more than a hundredth of a core.
	templateAge   = 5 * time.Second
	templateShare = 100
)

// readTemplates reads, in a goroutine of its own, what the sandboxes boot from:
// each template once in templateAge, however many sandboxes it has. A store that
// hangs holds up nothing else.
func (a *Agent) readTemplates(ctx context.Context) {
	type reading struct {
		until time.Time
		is    *path.Template
	}
	known := map[string]reading{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(templatesEvery):
		}
		using := map[string][]*slot{}
		a.model.eachBound(func(s *slot) {
			if dir := s.entry.Binding.TemplateDir; dir != "" {
				using[dir] = append(using[dir], s)
			}
		})
		maps.DeleteFunc(known, func(dir string, _ reading) bool { return using[dir] == nil })
		for dir, slots := range using {
			if ctx.Err() != nil {
				return
			}
			r := known[dir]
			if began := time.Now(); began.After(r.until) {
				r.is = readTemplate(dir, a.cfg.TemplateCache)
				r.until = time.Now().Add(max(templateAge, templateShare*time.Since(began)))
				known[dir] = r
			}
			a.model.templateIs(slots, r.is)
		}
	}
}

// templateIs notes what was read, and runs the checks where it is new.
func (m *model) templateIs(slots []*slot, t *path.Template) {
	m.eachOf(slots, func(s *slot) {
		if s.entry.Binding.Idle || t == nil || s.entry.Binding.TemplateDir != t.Dir || sameTemplate(s.template, t) {
			return
		}
		s.template = t
		m.diagnose(s, time.Now())
	})
}

func sameTemplate(a, b *path.Template) bool {
	if a == nil || a.Dir != b.Dir || len(a.Problems) != len(b.Problems) {
		return false
	}
	for i := range a.Problems {
		if a.Problems[i].Code != b.Problems[i].Code || a.Problems[i].Cause != b.Problems[i].Cause {
			return false
		}
	}
	return true
}

// readTemplate returns nil where there is nothing to be read.
func readTemplate(dir, cache string) *path.Template {
	t, err := image.Open(dir)
	if err != nil {
		return nil
	}
	defer t.Close()
	found := &path.Template{Dir: dir, Problems: []path.TemplateProblem{}}
	for _, r := range image.Check(t, image.Host{Cache: cache}) {
		if p := r.Problem; p != nil {
			found.Problems = append(found.Problems, path.TemplateProblem{Code: p.Code, Cause: p.Cause, Evidence: p.Evidence, Fix: p.Fix})
		}
	}
	return found
}
