package agent

import (
	"context"
	"maps"
	"time"

	"tapwatch/agent/path"
	"tapwatch/agent/slots"
	"tapwatch/internal/image"
)

const (
	// templatesEvery is the pause between two looks for templates to read.
	templatesEvery = time.Second
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
		case <-time.After(untilTick(templatesEvery)):
		}
		now := a.slots.Bindings()
		if now == seen && !due(known) {
			continue
		}
		seen = now
		of := lacking(a.slots.Bound(nil), known)
		maps.DeleteFunc(known, func(_ string, r *templateReading) bool { return !r.used })
		for dir, r := range known {
			if ctx.Err() != nil {
				return
			}
			if began := time.Now(); r.due(began) {
				r.is = readTemplate(dir, a.cfg.TemplateCache)
				r.until = time.Now().Add(max(templateAge, templateShare*time.Since(began)))
			}
			a.slots.TakeTemplate(of[dir], r.is)
		}
	}
}

// templateReading is what a template's directory had, until it is to be read again.
type templateReading struct {
	until time.Time
	is    *path.Template
	used  bool // some sandbox boots from it
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

// lacking returns the sandboxes by the directory of their template, and notes which
// templates are used.
func lacking(bound []slots.Target, known map[string]*templateReading) map[string][]slots.Target {
	for _, r := range known {
		r.used = false
	}
	of := map[string][]slots.Target{}
	for _, t := range bound {
		if t.TemplateDir == "" {
			continue
		}
		r := known[t.TemplateDir]
		if r == nil {
			r = &templateReading{}
			known[t.TemplateDir] = r
		}
		r.used = true
		of[t.TemplateDir] = append(of[t.TemplateDir], t)
	}
	return of
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
