package main

import (
	"fmt"
	"log/slog"
	"os"

	"github.com/spf13/pflag"

	"tapwatch/agent/config"
)

// logFlags say what every command logs.
type logFlags struct{ level, format string }

func (f *logFlags) add(fs *pflag.FlagSet) {
	fs.StringVar(&f.level, "log-level", "info", "lowest level that is logged: debug, info, warn or error")
	fs.StringVar(&f.format, "log-format", "text", "form of the log on standard error: text or json")
	config.OneOf(fs, "log-level", "debug", "info", "warn", "error")
	config.OneOf(fs, "log-format", "text", "json")
}

// use makes the logger that is slog's default. Its level can be set later.
func (f *logFlags) use() (*slog.LevelVar, error) {
	level := new(slog.LevelVar)
	if err := level.UnmarshalText([]byte(f.level)); err != nil {
		return nil, fmt.Errorf("--log-level %q: must be debug, info, warn or error", f.level)
	}
	opts := &slog.HandlerOptions{Level: level}
	if f.format == "json" {
		slog.SetDefault(slog.New(slog.NewJSONHandler(os.Stderr, opts)))
	} else {
		slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, opts)))
	}
	return level, nil
}
