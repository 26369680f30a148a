package main

import (
	"errors"
	"testing"

	"tapwatch/agent/path"
)

// A paused sandbox that nobody waits for is as it should be.
func TestVerdict(t *testing.T) {
	found := []path.Finding{{Code: "vmm-paused"}}
	for name, c := range map[string]struct {
		d    path.Diagnosis
		want error
	}{
		"healthy":                   {path.Diagnosis{State: path.OK}, nil},
		"paused":                    {path.Diagnosis{State: path.Paused}, nil},
		"paused, and requests wait": {path.Diagnosis{State: path.Broken, Findings: found}, exitFinding},
		"boots":                     {path.Diagnosis{State: path.Booting}, exitUndecided},
		"unknown":                   {path.Diagnosis{State: path.Undecided}, exitUndecided},
	} {
		if got := verdict([]path.Slot{{Diagnosis: c.d}}); !errors.Is(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
