package main

import (
	"errors"
	"net/url"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"

	"tapwatch/agent/config"
	"tapwatch/internal/registry"
	"tapwatch/internal/sandbox/template"
	"tapwatch/internal/sandbox/vmm/qemu"
)

// What is wrong with a flag's value is said before anything is done: it is an error of
// the command line (exitUsage).

func notNegative(fs *pflag.FlagSet, names ...string) {
	for _, name := range names {
		config.Check(fs, name, config.NotNegative)
	}
}

// launchChecks are of the flags that all have who launch sandboxes.
func launchChecks(fs *pflag.FlagSet) {
	config.Check(fs, "data-dir", existingDir)
	config.OneOf(fs, "accel", string(qemu.Auto), string(qemu.KVM), string(qemu.TCG))
	notNegative(fs, "first-slot", "memory")
}

func pathWords(fs *pflag.FlagSet) {
	config.OneOf(fs, "path", string(registry.Relay), string(registry.Fused), string(registry.DNAT))
}

func agentURLFlag(fs *pflag.FlagSet, to *string) {
	fs.StringVar(to, "agent-url", "http://127.0.0.1:10917", "URL of the agent")
	config.Check(fs, "agent-url", baseURL)
}

func baseURL(value string) error {
	if u, err := url.Parse(value); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return errors.New("must be a URL like http://127.0.0.1:10917")
	}
	return nil
}

// existingDir refuses a directory that is not there: a typo must not begin a download
// into a new one. The default is made where it is missing.
func existingDir(value string) error {
	if err := dirName(value); err != nil || filepath.Clean(value) == template.DefaultDir {
		return err
	}
	if st, err := os.Stat(value); err != nil || !st.IsDir() {
		return errors.New("there is no such directory; if it is meant, make it first")
	}
	return nil
}

func dirName(value string) error {
	if value == "" {
		return errors.New("must be the name of a directory")
	}
	return nil
}

func positive(value string) error {
	if err := config.NotNegative(value); err != nil || value == "0" || value == "0s" {
		return errors.New("must be above 0")
	}
	return nil
}
