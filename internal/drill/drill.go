// Package drill breaks sandboxes on purpose, for real, one fault after another,
// and sees whether the agent names the right cause and after how long.
package drill

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"tapwatch/agent/path"
	"tapwatch/internal/registry"
	"tapwatch/internal/sandbox"
	"tapwatch/internal/sandbox/network"
	"tapwatch/internal/sandbox/template"
)

// Fault is one thing that can be done to a sandbox, and what must come of it.
type Fault struct {
	Name     string
	What     string   // what is done, for people
	Hop      path.Hop // where the path breaks
	Expected string   // code of the only finding that is right
	// Variant is the template that has the fault in it; empty: the default one.
	Variant template.Variant
	// Answers says that our envd comes up in spite of the fault.
	Answers bool
	// Launch changes how the sandbox is launched: the fault is there from the
	// start. undo, which may be nil, gives back what the sandbox does not hold.
	Launch func(w *World, req *sandbox.CreateRequest) (undo func(), err error)
	// Make breaks a healthy sandbox. undo heals it again; nil says that it is spent.
	Make func(ctx context.Context, b *Box) (undo func() error, err error)
	// Foreign is drilled beside all others, in a slot of its own, which Slot may
	// change: a VMM that another launched, as User where that is not 0. Harm is
	// done to it once the agent knows it.
	// Elder, where it is set, is another VMM, which starts before Foreign in the same
	// namespace. With Astray both run in a namespace that is nobody's slot. undo removes
	// what Slot made outside of the slot.
	Foreign, Elder *standIn
	Astray         bool
	Slot           func(network.Slot) (undo func(), err error)
	User           uint32
	Harm           func(slot network.Slot, vmm *os.Process) error

	random bool           // nothing is expected of it: what is right is measured
	shape  registry.Shape // of the path that is broken; "" means the launcher's
}

// fromStart says that the sandbox never was healthy.
func (f Fault) fromStart() bool { return f.Launch != nil || f.Variant != "" }

// Result is what one drill showed.
type Result struct {
	Fault    string `json:"fault"`
	Expected string `json:"expected"`
	Named    string `json:"named"` // codes of all causes named at the end, by commas; empty: none
	Right    bool   `json:"right"` // the expected one, and no other
	// Rule is how the verdict went against what clients got; empty: it did not.
	Rule    string  `json:"rule,omitempty"`
	Seconds float64 `json:"seconds"` // from the fault until it was named; where it was not, how long was waited
	// Alert is the alert that fired for the sandbox, where an Alertmanager was
	// asked, and AlertSeconds how long after the fault it was seen there.
	Alert        string  `json:"alert,omitempty"`
	AlertSeconds float64 `json:"alert_seconds,omitempty"`
	Error        string  `json:"error,omitempty"` // why the drill itself did not work
}

// Find returns the faults of those names; "all" is every one, in the table's order.
func Find(names ...string) ([]Fault, error) {
	if slices.Contains(names, "all") {
		if len(names) > 1 {
			return nil, fmt.Errorf("drill: all and single faults together")
		}
		return Faults(), nil
	}
	var some []Fault
	for _, name := range names {
		i := slices.IndexFunc(Faults(), func(f Fault) bool { return f.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("drill: no fault %q: tapwatch drill lists them", name)
		}
		some = append(some, Faults()[i])
	}
	return some, nil
}

// Variants is every template that those faults boot, the default one included.
func Variants(faults []Fault) []template.Variant {
	vs := []template.Variant{template.Default}
	for _, f := range faults {
		if f.Variant != "" && !slices.Contains(vs, f.Variant) {
			vs = append(vs, f.Variant)
		}
	}
	return vs
}

// Run makes one fault after another and tells each result as it is known. The
// error is nil unless ctx ended; a drill that did not work says so in its result.
func (w *World) Run(ctx context.Context, faults []Fault, tell func(Result)) (err error) {
	defer func() { err = joinNotNil(err, w.dropSpare()) }()
	foreign := slices.DeleteFunc(slices.Clone(faults), func(f Fault) bool { return f.Foreign == nil })
	met := w.strangers(ctx, foreign) // they take half a minute, in which nothing is to be done
	for _, f := range faults {
		if f.Foreign != nil {
			continue
		}
		r := w.one(ctx, f)
		if ctx.Err() != nil {
			_, _ = met()
			return fmt.Errorf("drill %s: %w", f.Name, context.Cause(ctx))
		}
		tell(r)
	}
	results, err := met()
	if err != nil {
		return fmt.Errorf("drill: %w", err)
	}
	if ctx.Err() != nil {
		return fmt.Errorf("drill: %w", context.Cause(ctx))
	}
	for _, r := range results {
		tell(r)
	}
	return nil
}

func (w *World) one(ctx context.Context, f Fault) Result {
	r := Result{Fault: f.Name, Expected: f.Expected}
	drill := w.live
	if f.fromStart() {
		drill = w.stillborn
	}
	if err := drill(ctx, f, &r); err != nil {
		r.Right, r.Error = false, err.Error()
	}
	return r
}

// stillborn launches a sandbox that has the fault in it. Create waits for an envd
// that will not come, so what the agent says is read meanwhile.
func (w *World) stillborn(ctx context.Context, f Fault, r *Result) (err error) {
	req := sandbox.CreateRequest{Template: f.Variant.Alias(), Name: "drill-" + f.Name, Timeout: lifetime, Keep: true, BootTimeout: bootTime}
	if f.Variant == "" {
		req.Template = template.Default.Alias()
	}
	if f.Launch != nil {
		undo, err := f.Launch(w, &req)
		if err != nil {
			return fmt.Errorf("make %s: %w", f.Name, err)
		}
		if undo != nil {
			defer undo()
		}
	}
	w.Step(f.Name + ": " + f.What)
	made := time.Now()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	created := make(chan error, 1)
	go func() { created <- w.launchFaulty(ctx, req, f.Answers) }()
	b, err := w.appear(ctx, req.Name)
	if err == nil {
		err = w.judge(ctx, b, f, made, r)
		err = joinNotNil(err, w.kill(b))
	}
	cancel()
	return joinNotNil(err, <-created)
}

// live breaks a healthy sandbox, and heals it where that is possible.
func (w *World) live(ctx context.Context, f Fault, r *Result) error {
	b, err := w.healthy(ctx, f.shape)
	if err != nil {
		return err
	}
	w.Step(f.Name + ": " + f.What)
	made := time.Now()
	undo, err := f.Make(ctx, b)
	if err != nil {
		return joinNotNil(fmt.Errorf("make %s: %w", f.Name, err), w.dropSpare())
	}
	if f.random {
		err = w.judgeRandom(ctx, b, made, r)
	} else {
		err = w.judge(ctx, b, f, made, r)
	}
	if undo == nil {
		return joinNotNil(err, w.dropSpare())
	}
	if uerr := undo(); uerr != nil {
		return joinNotNil(err, fmt.Errorf("undo %s: %w", f.Name, uerr), w.dropSpare())
	}
	if herr := w.awaitOK(ctx, b); herr != nil {
		return joinNotNil(err, fmt.Errorf("%s was undone: %w", f.Name, herr), w.dropSpare())
	}
	return err
}
