package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tapwatch/agent/httpapi"
	"tapwatch/agent/path"
	"tapwatch/agent/top"
)

func eventsCommand() *cobra.Command {
	var (
		agentURL, output string
		recent, follow   bool
		want             eventFilter
	)
	cmd := &cobra.Command{
		Use:   "events",
		Short: "Print what happens to the sandboxes and slots of this host",
		Long: `Events prints what happened, as far as the agent has kept it, and goes on with what
happens, until Ctrl-C. Without --follow it ends with what was kept.`,
		Example: `  tapwatch events --sandbox web-1 --since 10m
  tapwatch events --kind carrier-lost,vmm-exited -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			which := httpapi.KeptAndNew
			switch {
			case !recent && !follow:
				return usagef("--recent=false goes without --follow=false: nothing is left to print")
			case !recent:
				which = httpapi.OnlyNew
			case !follow:
				which = httpapi.OnlyKept
			}
			on := screenOf(cmd.OutOrStdout())
			return httpapi.Client{BaseURL: agentURL}.Events(cmd.Context(), which, func(e path.Event, raw string) {
				switch {
				case !want.takes(e):
				case output == "json":
					fmt.Fprintln(cmd.OutOrStdout(), raw)
				default:
					top.Event(cmd.OutOrStdout(), e, on)
				}
			})
		},
	}
	agentURLFlag(cmd.Flags(), &agentURL)
	outputFlag(cmd, &output, "text, or json: one object a line", "text", "json")
	cmd.Flags().BoolVar(&recent, "recent", true, "begin with the events that the agent has kept")
	cmd.Flags().BoolVarP(&follow, "follow", "f", true, "go on with what happens, until Ctrl-C")
	cmd.Flags().StringVar(&want.who, "sandbox", "", "only of this sandbox or slot: its id, name or namespace")
	cmd.Flags().Var((*eventKinds)(&want.kinds), "kind", "only of these kinds, joined by commas: "+strings.Join(words(path.EventKinds), ", "))
	cmd.Flags().Var((*sinceTime)(&want.since), "since", "only from then on: how long ago (10m), or when (15:04, 2006-01-02, 2006-01-02 15:04:05)")
	_ = cmd.RegisterFlagCompletionFunc("sandbox", watched(&agentURL))
	_ = cmd.RegisterFlagCompletionFunc("kind", cobra.FixedCompletions(words(path.EventKinds), cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func words[T ~string](of []T) []string {
	var ws []string
	for _, w := range of {
		ws = append(ws, string(w))
	}
	return ws
}

// eventFilter says which events are wanted. The zero value wants all.
type eventFilter struct {
	who   string
	kinds []path.EventKind
	since time.Time
}

func (f eventFilter) takes(e path.Event) bool {
	return (f.who == "" || f.who == e.SandboxID || f.who == e.Name || f.who == e.Netns) &&
		(len(f.kinds) == 0 || slices.Contains(f.kinds, e.Kind)) && !e.Time.Before(f.since)
}

// eventKinds is a list of kinds as the value of a flag.
type eventKinds []path.EventKind

// Set implements pflag.Value.
func (k *eventKinds) Set(text string) error {
	for word := range strings.SplitSeq(text, ",") {
		kind := path.EventKind(strings.TrimSpace(word))
		if !slices.Contains(path.EventKinds, kind) {
			return errors.New("must be of " + strings.Join(words(path.EventKinds), ", "))
		}
		*k = append(*k, kind)
	}
	return nil
}

// String implements pflag.Value.
func (k *eventKinds) String() string { return strings.Join(words(*k), ",") }

// Type implements pflag.Value: it is what help shows.
func (k *eventKinds) Type() string { return "KIND" }

// sinceTime is a time as the value of a flag.
type sinceTime time.Time

// Set implements pflag.Value.
func (s *sinceTime) Set(text string) error {
	t, err := readSince(text, time.Now())
	*s = sinceTime(t)
	return err
}

// readSince reads a time before now: a duration, a time of the day, a date, or both.
func readSince(text string, now time.Time) (time.Time, error) {
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02 15:04:05", "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, text, now.Location()); err == nil {
			return t, nil
		}
	}
	for _, layout := range []string{"15:04:05", "15:04"} {
		if t, err := time.Parse(layout, text); err == nil {
			y, m, d := now.Date()
			at := time.Date(y, m, d, t.Hour(), t.Minute(), t.Second(), 0, now.Location())
			if at.After(now) { // last night's
				at = at.AddDate(0, 0, -1)
			}
			return at, nil
		}
	}
	return time.Time{}, errors.New("must be how long ago, such as 10m, or when: 15:04, 2006-01-02 or 2006-01-02 15:04:05")
}

// String implements pflag.Value.
func (s *sinceTime) String() string {
	if time.Time(*s).IsZero() {
		return ""
	}
	return time.Time(*s).Format(time.RFC3339)
}

// Type implements pflag.Value: it is what help shows.
func (s *sinceTime) Type() string { return "TIME" }
