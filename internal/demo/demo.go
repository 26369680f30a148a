// Package demo launches four sandboxes, one healthy and three with a real fault
// each, sends traffic through their paths as a client would, and draws what the
// agent makes of it.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"tapwatch/agent/draw"
	"tapwatch/agent/path"
	"tapwatch/internal/sandbox"
	"tapwatch/internal/sandbox/template"
)

// Config is what the demo runs on. All fields but Screen are required.
type Config struct {
	Manager  *sandbox.Manager
	ProxyURL string             // of the proxy
	Slots    func() []path.Slot // what the agent sees
	Out      io.Writer
	Screen   draw.Screen
}

// drill is one sandbox of the demo and what must be seen of it.
type drill struct {
	name    string
	what    string // the fault, for people
	variant template.Variant
	noNIC   bool
	broken  path.Hop // empty: nowhere
}

var drills = []drill{
	{"healthy", "nothing is wrong", template.Default, false, ""},
	{"no-carrier", "its VMM never attaches to the tap", template.Default, true, path.Tap},
	{"no-driver", "its guest has no driver for the NIC", template.NoDriver, false, path.Guest},
	{"no-envd", "its guest is up, without the daemon", template.NoEnvd, false, path.Envd},
}

// Variants is every template that the demo boots.
func Variants() []template.Variant {
	var vs []template.Variant
	for _, d := range drills {
		if !slices.Contains(vs, d.variant) {
			vs = append(vs, d.variant)
		}
	}
	return vs
}

const (
	// lifetime of the sandboxes, if nobody ends the demo before.
	lifetime = 24 * time.Hour
	// faultyBoot is how long a sandbox may take that is known never to come up: a
	// guest needs 2 to 4 s, and three boot at once.
	faultyBoot = 12 * time.Second
	// settleTime is how long the agent may take to see what the traffic shows.
	settleTime = 20 * time.Second
)

// Demo is four launched sandboxes.
type Demo struct {
	cfg Config
	ids map[string]string // by name
}

// Launch creates the sandboxes. The healthy one goes first, alone, so that it is
// up as fast as one sandbox can be.
func Launch(ctx context.Context, cfg Config) (*Demo, error) {
	d := &Demo{cfg: cfg, ids: map[string]string{}}
	fmt.Fprintln(cfg.Out, "launching four sandboxes:")
	if err := d.launch(ctx, drills[0]); err != nil {
		return nil, err
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, dr := range drills[1:] {
		g.Go(func() error { return d.launch(ctx, dr) })
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for _, s := range cfg.Manager.List() {
		d.ids[s.Name] = s.ID
	}
	return d, nil
}

func (d *Demo) launch(ctx context.Context, dr drill) error {
	start := time.Now()
	req := sandbox.CreateRequest{Template: dr.variant.Alias(), Name: dr.name, Timeout: lifetime, NoNIC: dr.noNIC}
	if dr.broken != "" {
		req.Keep, req.BootTimeout = true, faultyBoot
	}
	s, err := d.cfg.Manager.Create(ctx, req)
	switch {
	case s.ID == "" || dr.broken == "" && err != nil:
		return fmt.Errorf("launch %s: %w", dr.name, err)
	case dr.broken != "" && err == nil:
		return fmt.Errorf("launch %s: envd answers, though %s", dr.name, dr.what)
	case err == nil:
		fmt.Fprintf(d.cfg.Out, "  %-11s %s in %s: envd answered after %.1f s\n", dr.name, s.ID, s.Slot.Netns(), time.Since(start).Seconds())
	default:
		fmt.Fprintf(d.cfg.Out, "  %-11s %s in %s: kept though envd never answered; %s\n", dr.name, s.ID, s.Slot.Netns(), dr.what)
	}
	return nil
}

// Draw keeps the traffic running and waits until the agent has made up its mind about every sandbox, draws
// their paths and the idle slots, and fails where one is not as it must be.
func (d *Demo) Draw(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go d.Keep(ctx)
	deadline := time.Now().Add(settleTime)
	for !d.settled() && time.Now().Before(deadline) {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
	var errs []error
	paths := d.paths()
	for _, dr := range drills {
		s, ok := paths[dr.name]
		if !ok {
			errs = append(errs, fmt.Errorf("%s: the agent does not see the sandbox", dr.name))
			continue
		}
		fmt.Fprintln(d.cfg.Out)
		draw.Path(d.cfg.Out, s, d.cfg.Screen)
		if !as(s, dr) {
			errs = append(errs, fmt.Errorf("%s: %s, and the agent sees it %s at %q, not broken at %q",
				dr.name, dr.what, s.Diagnosis.State, s.Diagnosis.BrokenAt(), dr.broken))
		}
	}
	d.drawIdle()
	return errors.Join(errs...)
}

// drawIdle tells of the slots without a sandbox in one line.
func (d *Demo) drawIdle() {
	var idle []string
	for _, s := range d.cfg.Slots() {
		if s.Sandbox == nil {
			idle = append(idle, s.Netns)
		}
	}
	if len(idle) > 0 {
		fmt.Fprintf(d.cfg.Out, "\n%d idle slots, healthy: no VMM is attached; NO-CARRIER is expected here (%s)\n", len(idle), strings.Join(idle, ", "))
	}
}

func (d *Demo) settled() bool {
	paths := d.paths()
	for _, dr := range drills {
		if s, ok := paths[dr.name]; !ok || !as(s, dr) {
			return false
		}
	}
	return true
}

// as reports whether a path is what its drill makes it.
func as(s path.Slot, dr drill) bool {
	if dr.broken == "" {
		return s.Diagnosis.State == path.OK
	}
	return s.Diagnosis.State == path.Broken && s.Diagnosis.BrokenAt() == dr.broken
}

// paths is what the agent sees of the demo's sandboxes, by name.
func (d *Demo) paths() map[string]path.Slot {
	paths := map[string]path.Slot{}
	for _, s := range d.cfg.Slots() {
		if s.Sandbox != nil && d.ids[s.Sandbox.Name] == s.Sandbox.ID {
			paths[s.Sandbox.Name] = s
		}
	}
	return paths
}
