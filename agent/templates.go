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
	known := map[string]*templateReading{}
	for seen := uint64(0); ; {
		select {
		case <-ctx.Done():
			return
		case <-time.After(templatesEvery):
		}
		now := a.model.bindings.Load()
		if now == seen && !due(known) {
			continue
		}
		seen = now
		lacking := a.model.lacking(known, time.Now())
		maps.DeleteFunc(known, func(_ string, r *templateReading) bool { return !r.used })
		for dir, r := range known {
			if ctx.Err() != nil {
				return
			}
			if began := time.Now(); r.due(began) {
				r.is = readTemplate(dir, a.cfg.TemplateCache)
				r.until = time.Now().Add(max(templateAge, templateShare*time.Since(began)))
			}
			a.model.templateIs(lacking[dir], r.is)
		}
	}
}

// templateReading is what a template's directory had, until it is to be read again.
type templateReading struct {
	until time.Time
	is    *path.Template
	used  bool // some slot boots from it
}

func (r *templateReading) due(now time.Time) bool { return now.After(r.until) }

func due(known map[string]*templateReading) bool {
	now := time.Now()
	for _, r := range known {
		if r.due(now) {
			return true
		}
	}
	return false
}

// lacking returns the slots that do not have what was read of their template, or will
// not have once it is read again, by its directory. It notes which are used.
func (m *model) lacking(known map[string]*templateReading, now time.Time) map[string][]*slot {
	for _, r := range known {
		r.used = false
	}
	lacking := map[string][]*slot{}
	m.eachBound(func(s *slot) {
		dir := s.entry.Binding.TemplateDir
		if dir == "" {
			return
		}
		r := known[dir]
		if r == nil {
			r = &templateReading{}
			known[dir] = r
		}
		if r.used = true; r.is == nil || s.template != r.is || r.due(now) {
			lacking[dir] = append(lacking[dir], s)
		}
	})
	return lacking
}

// templateIs notes what was read, and runs the checks where it is new.
func (m *model) templateIs(slots []*slot, t *path.Template) {
	m.eachOf(slots, func(s *slot) {
		if s.entry.Binding.Idle || t == nil || s.entry.Binding.TemplateDir != t.Dir {
			return
		}
		same := sameTemplate(s.template, t)
		s.template = t
		if !same {
			m.diagnose(s, time.Now())
		}
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
