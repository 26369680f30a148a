package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"tapwatch/agent/config"
)

// exitUsage is EX_USAGE of sysexits.h: the command line itself is wrong, and
// nothing was done. 1 and 2 are verdicts of doctor and of template check.
const exitUsage = 64

// errNoName is an empty argument where a sandbox is to be named.
var errNoName = errors.New("SANDBOX is empty: name one by its id, its name or its namespace")

// usageError is an error of the command line.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error {
	return usageError{fmt.Errorf(format, args...)}
}

// outputFlag adds --output, which is one of the words; the first is the default.
func outputFlag(cmd *cobra.Command, output *string, help string, words ...string) {
	cmd.Flags().StringVarP(output, "output", "o", words[0], help)
	config.OneOf(cmd.Flags(), "output", words...)
}

// flagError is what cobra calls for a flag that it does not know, or whose value
// it cannot read.
func flagError(cmd *cobra.Command, err error) error {
	var value *pflag.InvalidValueError
	if errors.As(err, &value) { // the text says what it must be: no help is needed
		return usageError{config.Refused(value.GetFlag(), value.GetValue(), value.Unwrap())}
	}
	return usagef("%w: see %s --help", err, cmd.CommandPath())
}

// isUsage says whether the command line was wrong. For a command that it does not
// know, and for a wrong number of arguments, cobra has errors of no type: so the
// same questions are asked again.
func isUsage(ran *cobra.Command, args []string, err error) bool {
	if errors.As(err, new(usageError)) {
		return true
	}
	_, _, unknown := ran.Root().Find(args)
	return unknown != nil || ran.ValidateArgs(ran.Flags().Args()) != nil || ran.ValidateRequiredFlags() != nil
}
