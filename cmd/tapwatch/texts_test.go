package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

var (
	fixes   = regexp.MustCompile(`(?m)^  to do +(.*)$`)
	command = regexp.MustCompile(`\btapwatch((?: [a-z]+\b)+)((?: --?[a-z]\S*| [A-Z0-9]\S*| \S*[:/.]\S*)*)`)
	option  = regexp.MustCompile(` --([a-z-]+)`)
)

// TestFixesNameCommandsThatExist: what a finding tells people to type is there. The pages
// of the checks show every fix.
func TestFixesNameCommandsThatExist(t *testing.T) {
	pages, err := filepath.Glob(filepath.Join("..", "..", "docs", "checks", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, fix := range fixes.FindAllStringSubmatch(string(text), -1) {
			for _, m := range command.FindAllStringSubmatch(fix[1], -1) {
				n++
				words := strings.Fields(m[1])
				cmd, _, err := rootCommand().Find(words)
				switch {
				case err != nil || cmd == cmd.Root():
					t.Errorf("%s: %q: %v", page, m[0], err)
					continue
				case cmd.HasSubCommands() && cmd.Runnable() && len(words) > len(strings.Fields(cmd.CommandPath()))-1:
					t.Errorf("%s: %q is no command of %s", page, m[0], cmd.CommandPath())
				}
				known := pflag.NewFlagSet(cmd.Name(), pflag.ContinueOnError)
				known.AddFlagSet(cmd.Flags())
				known.AddFlagSet(cmd.InheritedFlags())
				for _, o := range option.FindAllStringSubmatch(m[2], -1) {
					if known.Lookup(o[1]) == nil {
						t.Errorf("%s: %q: %s has no --%s", page, m[0], cmd.CommandPath(), o[1])
					}
				}
			}
		}
	}
	if n < 20 {
		t.Errorf("only %d commands found", n)
	}
}
