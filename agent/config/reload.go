package config

import (
	"context"
	"log/slog"
	"os"
	"slices"
	"strings"
)

// Reloader reads the configuration again while the agent runs. T holds the
// variables that the caller bound to its flags.
type Reloader[T any] struct {
	// Load reads all sources, as at the start.
	Load func() (T, *Config, error)
	// Apply puts the settings that are live (MarkLive, rules, silence) in force, all
	// or none. It is called at each reload, and gets the new value of the others too,
	// which it must leave alone.
	Apply func(T, *Config) error
	Log   *slog.Logger
	// InForce is what the agent started with. Reload keeps it up to date.
	InForce *Config
}

// Run reloads at each signal until the context ends.
func (r *Reloader[T]) Run(ctx context.Context, signals <-chan os.Signal) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-signals:
			_ = r.Reload() // it is logged
		}
	}
}

// Reload reads the configuration once. Where that fails the old one stays in
// force. It logs what came of it, an error too.
func (r *Reloader[T]) Reload() error {
	flags, next, err := r.Load()
	if err == nil && next.File == "" && r.InForce.File != "" {
		err = Problem{File: r.InForce.File, Text: "the file is gone"} // or every rule would go with it
	}
	if err == nil {
		err = r.Apply(flags, next)
	}
	if err != nil {
		r.Log.Error("the new configuration is refused, the old one stays in force", "err", oneLine(err))
		return err
	}
	live, restart := Changed(r.InForce, next)
	changed := "nothing"
	if len(live) > 0 {
		changed = strings.Join(live, ", ")
	}
	r.Log.Info("the configuration was read again", "file", next.File, "changed", changed)
	if len(restart) > 0 {
		r.Log.Warn("needs a restart: " + strings.Join(restart, ", "))
	}
	r.InForce = merged(r.InForce, next)
	return nil
}

// merged is what is in force after a reload: the new live settings, and the others
// as they were.
func merged(old, next *Config) *Config {
	c := *next
	c.E2B = old.E2B
	c.Settings = slices.Clone(next.Settings)
	for i, s := range c.Settings {
		j := slices.IndexFunc(old.Settings, func(o Setting) bool { return o.Name == s.Name })
		if !s.Live && j >= 0 {
			c.Settings[i] = old.Settings[j]
		}
	}
	return &c
}

func oneLine(err error) string {
	return strings.ReplaceAll(err.Error(), "\n", "; ")
}
