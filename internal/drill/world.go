package drill

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"tapwatch/agent/path"
	"tapwatch/internal/registry"
	"tapwatch/internal/sandbox"
	"tapwatch/internal/sandbox/template"
)

const (
	// lifetime of a sandbox, if nobody ends it before.
	lifetime = time.Hour
	// bootTime is how long a sandbox may boot that is known never to come up,
	// until the launcher says that it failed: a guest needs 2 to 4 s here.
	bootTime = 8 * time.Second
	// lookEvery is the pause between two looks at what the agent says.
	lookEvery = 20 * time.Millisecond
	// holdTime is how long the right cause must stand alone to count.
	holdTime = 1500 * time.Millisecond
	// killTime bounds the removal of one sandbox.
	killTime = time.Minute
)

// World is the host that the faults are made on: a launcher with the proxy, and an
// agent that watches it. All fields but Alerts are required.
type World struct {
	Manager *sandbox.Manager
	Proxy   *Layer
	// Slots is what the agent sees.
	Slots    func(context.Context) ([]path.Slot, error)
	Patience time.Duration // how long the agent may take to name a fault
	Step     func(string)  // is told what is being done
	Cache    string        // the template cache that the agent looks at
	RunDir   string        // where the launcher records its slots
	Alerts   *Alertmanager // nil: no alert is waited for

	spare      *Box // a healthy sandbox, to be broken next
	spareShape registry.Shape
}

// Box is one sandbox of the drill.
type Box struct {
	*World
	sandbox.Sandbox
	stop  context.CancelFunc // of its traffic
	got   clients            // who ask through the proxy
	atEnd []func()           // what is to be given back before it is removed
}

// healthy returns a sandbox that the agent finds nothing wrong with, whose path has a
// shape; "" means the launcher's.
func (w *World) healthy(ctx context.Context, shape registry.Shape) (*Box, error) {
	if w.spare != nil && w.spareShape == shape {
		return w.spare, nil
	}
	if err := w.dropSpare(); err != nil {
		return nil, err
	}
	s, err := w.Manager.Create(ctx, sandbox.CreateRequest{Template: template.Default.Alias(), Name: "drill", Timeout: lifetime, Path: shape})
	if err != nil {
		return nil, fmt.Errorf("launch a healthy sandbox: %w", err)
	}
	w.spare, w.spareShape = w.box(ctx, s), shape
	if err := w.awaitOK(ctx, w.spare); err != nil {
		return nil, joinNotNil(fmt.Errorf("a healthy sandbox: %w", err), w.dropSpare())
	}
	return w.spare, nil
}

// dropSpare removes the sandbox that healthy made, if there is one.
func (w *World) dropSpare() error {
	b := w.spare
	if b == nil {
		return nil
	}
	w.spare = nil
	return w.kill(b)
}

func (w *World) box(ctx context.Context, s sandbox.Sandbox) *Box {
	b := &Box{World: w, Sandbox: s}
	b.resume(ctx)
	return b
}

// resume begins the sandbox's traffic.
func (b *Box) resume(ctx context.Context) {
	ctx, b.stop = context.WithCancel(ctx)
	go b.traffic(ctx)
}

// kill removes a sandbox, also when the drill was interrupted.
func (w *World) kill(b *Box) error {
	b.stop()
	for _, do := range b.atEnd {
		do()
	}
	ctx, cancel := context.WithTimeout(context.Background(), killTime)
	defer cancel()
	return w.Manager.Kill(ctx, b.ID)
}

// launchFaulty creates a sandbox that must not come up, unless answers is set.
func (w *World) launchFaulty(ctx context.Context, req sandbox.CreateRequest, answers bool) error {
	_, err := w.Manager.Create(ctx, req)
	if err == nil && !answers {
		return errors.New("envd answers: the fault did not take")
	}
	return nil
}

// appear waits until the launcher has begun a sandbox of that name.
func (w *World) appear(ctx context.Context, name string) (*Box, error) {
	var b *Box
	err := w.until(ctx, func() (bool, error) {
		list := w.Manager.List()
		i := slices.IndexFunc(list, func(s sandbox.Sandbox) bool { return s.Name == name })
		if i < 0 {
			return false, nil
		}
		b = w.box(ctx, list[i])
		return true, nil
	})
	if err != nil {
		return nil, fmt.Errorf("the launcher does not begin %s: %w", name, err)
	}
	return b, nil
}

// errLate is why until gave up.
var errLate = errors.New("waited in vain")

// until calls done again and again, for as long as a fault may take to be named.
func (w *World) until(ctx context.Context, done func() (bool, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, w.Patience, fmt.Errorf("%w for %v", errLate, w.Patience))
	defer cancel()
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(lookEvery):
		}
	}
}

// seen is what the agent says of the sandbox; nil: it does not know it.
func (b *Box) seen(ctx context.Context) (*path.Slot, error) {
	slots, err := b.Slots(ctx)
	if err != nil {
		return nil, err
	}
	for _, s := range slots {
		if s.Sandbox != nil && s.Sandbox.ID == b.ID {
			return &s, nil
		}
	}
	return nil, nil
}

// awaitOK waits until the agent finds the sandbox's whole path healthy.
func (w *World) awaitOK(ctx context.Context, b *Box) error {
	last := "not seen"
	err := w.until(ctx, func() (bool, error) {
		s, err := b.seen(ctx)
		if err != nil || s == nil {
			return false, err
		}
		last = describe(s.Diagnosis)
		return s.Diagnosis.State == path.OK && len(s.Diagnosis.Findings) == 0, nil // a warning may stay for a while
	})
	if err != nil {
		return fmt.Errorf("the agent does not call it healthy but %s: %w", last, err)
	}
	return nil
}

func describe(d path.Diagnosis) string {
	text := string(d.State)
	if c := codes(d); c != "" {
		text += " (" + c + ")"
	}
	for _, h := range d.Hops {
		if h.State != path.OK {
			return fmt.Sprintf("%s at %s: %s", text, h.Hop, h.Detail)
		}
	}
	return text
}

// codes of all causes that stand on top.
func codes(d path.Diagnosis) string {
	var list []string
	for _, f := range d.Findings {
		list = append(list, f.Code)
	}
	return strings.Join(list, ",")
}

// joinNotNil is errors.Join, in one line.
func joinNotNil(errs ...error) error {
	errs = slices.DeleteFunc(errs, func(err error) bool { return err == nil })
	if len(errs) < 2 {
		return errors.Join(errs...)
	}
	err := errs[0]
	for _, more := range errs[1:] {
		err = fmt.Errorf("%w; %w", err, more)
	}
	return err
}
