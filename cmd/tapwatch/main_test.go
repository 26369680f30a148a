package main

import (
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"tapwatch/internal/nettest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"tapwatch": main})
}

// Each script is bad input and the one line that it gets, or what a command prints.
func TestScripts(t *testing.T) {
	nettest.NeedRoot(t)
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("NETNS", nettest.RandomName("twtest-none-"))
			e.Setenv("TAPWATCH_HISTORY_DIR", filepath.Join(e.WorkDir, "history"))
			return nil
		},
	})
}
