package template

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// BuildOptions say what to build. The zero value builds the default template.
type BuildOptions struct {
	Dir     string  // data directory; empty: DefaultDir
	Variant Variant // empty: Default
	// EnvdPath is the static binary that becomes /usr/bin/envd in the guest; empty:
	// the file "envd" beside the running executable. NoEnvd needs none.
	EnvdPath string
	// Force asks the package archive for newer versions, and builds again what is there.
	Force bool
	// Step is told what is being done, for a person to read; nil: nobody is.
	Step func(string)
	// Downloaded is told how many bytes of how many of a step are there, again and again;
	// nil: nobody is.
	Downloaded func(done, total int64)
}

func (o *BuildOptions) validate() error {
	if o.Dir == "" {
		o.Dir = DefaultDir
	}
	if o.Variant == "" {
		o.Variant = Default
	}
	if !slices.Contains(Variants(), o.Variant) {
		return fmt.Errorf("unknown variant %q: one of %v", o.Variant, Variants())
	}
	if o.Step == nil {
		o.Step = func(string) {}
	}
	if o.EnvdPath == "" {
		self, err := os.Executable()
		if err != nil {
			return fmt.Errorf("find envd: %w", err)
		}
		o.EnvdPath = filepath.Join(filepath.Dir(self), "envd")
	}
	return nil
}
