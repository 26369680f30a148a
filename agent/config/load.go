package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"tapwatch/internal/e2b"
)

// Loader says where the settings come from. It can load any number of times: what
// was on the command line and in the environment stays, and the file is read
// again.
type Loader struct {
	// File is the file that the operator named; empty: the variable TAPWATCH_CONFIG
	// names it, or else it is Fallback where that exists.
	File     string
	Fallback string
	// Given are the values on the command line, by flag: see GivenOn.
	Given map[string][]string
	// LookupEnv asks the environment, like os.LookupEnv; nil: there is none.
	LookupEnv func(string) (string, bool)
}

// FileFlag is the flag that names the file. It alone has no key in the file.
const FileFlag = "config"

// GivenOn returns the values of the flags that were set on a command line, for
// Loader.Given.
func GivenOn(fs *pflag.FlagSet) map[string][]string {
	given := map[string][]string{}
	fs.Visit(func(f *pflag.Flag) {
		if list, ok := f.Value.(pflag.SliceValue); ok {
			given[f.Name] = list.GetSlice()
		} else {
			given[f.Name] = []string{f.Value.String()}
		}
	})
	return given
}

// Load sets the flags of a fresh set, each from the strongest source that has it:
// flag, environment, file, default. Only the flags of the set are settings. The
// error holds all that is wrong, a line each (see Lines).
func (l Loader) Load(flags *pflag.FlagSet) (*Config, error) {
	d, err := l.read()
	if err != nil {
		return nil, err
	}
	c := &Config{E2B: e2b.DefaultPlan()}
	var errs []error
	if d != nil {
		c.File = d.name
		errs = append(errs, d.take(c), d.knows(flags))
	}
	flags.VisitAll(func(f *pflag.Flag) {
		s, err := l.settle(f, d)
		c.Settings = append(c.Settings, s)
		errs = append(errs, err)
	})
	c.Settings = append(c.Settings, c.sectionSettings(d)...)
	if err := errors.Join(errs...); err != nil {
		all := Lines(err)
		slices.SortStableFunc(all, byLine)
		return nil, errors.Join(all...)
	}
	return c, nil
}

// read reads the file; without one, and nobody named one, the result is nil.
func (l Loader) read() (*document, error) {
	name := l.File
	if name == "" {
		name, _ = l.env(FileFlag)
	}
	if name == "" {
		if _, err := os.Stat(l.Fallback); l.Fallback == "" || errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		name = l.Fallback
	}
	return readFile(name)
}

// env asks the environment for a flag. A variable that is empty counts as none.
func (l Loader) env(flag string) (string, bool) {
	if l.LookupEnv == nil {
		return "", false
	}
	name := Variable(flag)
	if _, ok := l.LookupEnv("TAPWATCH_SERVICE_HOST"); ok && name == "TAPWATCH_SERVICE_PORT" {
		return "", false // Kubernetes made it, of a Service named tapwatch
	}
	value, _ := l.LookupEnv(name)
	return value, value != ""
}

// settle sets one flag, and says from where. A file's value is tried also where
// it is overridden: what is wrong in the file is wrong today, not on the day on
// which the override goes.
func (l Loader) settle(f *pflag.Flag, d *document) (Setting, error) {
	s := Setting{Name: Key(f.Name), Source: Default, Live: IsLive(f)}
	var errs []error
	if n, line := d.value(s.Name); n != nil {
		s.Source, s.Origin = File, fmt.Sprintf("%s:%d", d.name, line)
		errs = append(errs, d.set(f, n))
	}
	if value, ok := l.env(f.Name); ok {
		s.Source, s.Origin = Environment, Variable(f.Name)
		if err := emptied(f).Set(value); err != nil {
			errs = append(errs, fmt.Errorf("%s=%s: %w", s.Origin, quoted(value), whyNot(f, err)))
		}
	}
	if values, ok := l.Given[f.Name]; ok {
		s.Source, s.Origin = Flag, "--"+f.Name
		var err error
		if list, ok := f.Value.(pflag.SliceValue); ok {
			err = list.Replace(values)
		} else {
			err = f.Value.Set(values[0])
		}
		if err != nil {
			errs = append(errs, Refused(f, values[0], err))
		}
	}
	s.exact = plain(f.Value, false)
	s.Value = plain(f.Value, true)
	return s, errors.Join(errs...)
}

// Refused is the error of a flag that does not take a value.
func Refused(f *pflag.Flag, value string, err error) error {
	return fmt.Errorf("--%s %s: %w", f.Name, quoted(value), whyNot(f, err))
}

// quoted is a value in an error, without its password.
func quoted(value string) string { return strconv.Quote(masked(value)) }

// emptied empties a list, so that a stronger source replaces it as a whole.
func emptied(f *pflag.Flag) pflag.Value {
	if list, ok := f.Value.(pflag.SliceValue); ok {
		_ = list.Replace(nil) // an empty list is always taken
	}
	return f.Value
}

// value returns the value of a key of the file and its line; nil where there is
// none.
func (d *document) value(key string) (*yaml.Node, int) {
	if d == nil {
		return nil, 0
	}
	var way []any
	for part := range strings.SplitSeq(key, ".") {
		way = append(way, part)
	}
	return at(d.root, way...)
}
