package main

import (
	"errors"
	"slices"
	"strings"

	"tapwatch/agent/diagnose"
)

// checkCodes is a list of checks, by their codes, as the value of a flag.
type checkCodes []string

// Set adds codes, with commas between them. It implements pflag.Value.
func (l *checkCodes) Set(text string) error { return l.add(strings.Split(text, ",")) }

func (l *checkCodes) add(codes []string) error {
	for _, code := range codes {
		if err := l.Append(code); err != nil {
			return err
		}
	}
	return nil
}

// Append implements pflag.SliceValue.
func (l *checkCodes) Append(code string) error {
	if !slices.ContainsFunc(diagnose.Checks, func(c diagnose.Check) bool { return c.Code == code }) {
		return errors.New("no check has this code: docs/checks has a page for each that there is")
	}
	*l = append(*l, code)
	return nil
}

// Replace implements pflag.SliceValue.
func (l *checkCodes) Replace(codes []string) error {
	*l = nil
	return l.add(codes)
}

// GetSlice implements pflag.SliceValue.
func (l *checkCodes) GetSlice() []string { return *l }

// String implements pflag.Value.
func (l *checkCodes) String() string { return strings.Join(*l, ",") }

// Type implements pflag.Value: it is what help shows.
func (l *checkCodes) Type() string { return "CODE" }
