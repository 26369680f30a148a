package top

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	tea "charm.land/bubbletea/v2"

	"tapwatch/agent/httpapi"
	"tapwatch/agent/path"
)

// Config is what Run shows.
type Config struct {
	Client httpapi.Client
	Filter string // words that rows must have
	Order  string // one of Orders
	Idle   bool   // idle slots too
	Color  bool
}

// pause is the least time between two looks, and quiet the most: between them, an event
// asks for the next one.
const (
	pause = 250 * time.Millisecond
	quiet = 2 * time.Second
)

// eventsMost is how many events are kept to be looked at.
const eventsMost = 500

// What comes to the view from outside.
type (
	looked struct { // the answer of the agent
		slots []path.Slot
		err   error
		at    time.Time
	}
	happened struct{ e path.Event }
)

// Run shows the view on a terminal until the user quits or ctx ends.
func Run(ctx context.Context, c Config, in io.Reader, out io.Writer) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	program := tea.NewProgram(newModel(c), tea.WithContext(ctx), tea.WithInput(in), tea.WithOutput(out))
	wake := make(chan struct{}, 1)
	go look(ctx, c.Client, wake, program.Send)
	go follow(ctx, c.Client, wake, program.Send)
	if _, err := program.Run(); err != nil && !errors.Is(err, tea.ErrProgramKilled) && !errors.Is(err, tea.ErrInterrupted) {
		return fmt.Errorf("terminal: %w", err)
	}
	return nil
}

// look asks for all paths again and again: soon after an event, else seldom, and the
// more seldom the longer an answer takes.
func look(ctx context.Context, c httpapi.Client, wake <-chan struct{}, send func(tea.Msg)) {
	for ctx.Err() == nil {
		start := time.Now()
		slots, err := c.Paths(ctx)
		send(looked{slots, err, time.Now()})
		least := max(pause, 4*time.Since(start))
		if !sleep(ctx, least, nil) || !sleep(ctx, max(quiet-least, 0), wake) {
			return
		}
	}
}

// follow hands on events, and connects anew where the stream ends.
func follow(ctx context.Context, c httpapi.Client, wake chan<- struct{}, send func(tea.Msg)) {
	which := httpapi.KeptAndNew
	for ctx.Err() == nil {
		_ = c.Events(ctx, which, func(e path.Event, _ string) {
			which = httpapi.OnlyNew // the next stream must not begin with the same again
			send(happened{e})
			select {
			case wake <- struct{}{}:
			default:
			}
		})
		sleep(ctx, time.Second, nil)
	}
}

// sleep waits for a time, or less where wake says so; false: ctx has ended.
func sleep(ctx context.Context, d time.Duration, wake <-chan struct{}) bool {
	select {
	case <-ctx.Done():
		return false
	case <-wake:
	case <-time.After(d):
	}
	return true
}
