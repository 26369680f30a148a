package main

import (
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// The groups of the commands in help.
const (
	groupWatch  = "watch"
	groupLaunch = "launch"
	groupOther  = "other"
)

// grouped adds commands to root under the title of a group.
func grouped(root *cobra.Command, id, title string, commands ...*cobra.Command) {
	root.AddGroup(&cobra.Group{ID: id, Title: title})
	for _, c := range commands {
		c.GroupID = id
	}
	root.AddCommand(commands...)
}

// wrapHelp has the help of all commands keep within the terminal. Cobra writes help
// into a buffer first, so the terminal is that of the process.
func wrapHelp(root *cobra.Command) {
	width := func() int { return screenOf(os.Stdout).Width }
	cobra.AddTemplateFunc("width", width)
	cobra.AddTemplateFunc("refold", func(text string) string { return refold(text, width()) })
	root.SetUsageTemplate(strings.ReplaceAll(root.UsageTemplate(), "Flags.FlagUsages", "Flags.FlagUsagesWrapped width"))
	root.SetHelpTemplate(`{{with (or .Long .Short)}}{{. | trimTrailingWhitespaces | refold}}

{{end}}{{if or .Runnable .HasSubCommands}}{{.UsageString}}{{end}}`)
}

// refold fills the paragraphs of a text anew where it is wider than the terminal.
// What is indented stays as it is.
func refold(text string, width int) string {
	paragraphs := strings.Split(text, "\n\n")
	for i, p := range paragraphs {
		wide := false
		for line := range strings.Lines(p) {
			wide = wide || len(strings.TrimRight(line, "\n")) > width
		}
		if width > 0 && wide && !strings.HasPrefix(p, " ") {
			paragraphs[i] = foldWords(p, width)
		}
	}
	return strings.Join(paragraphs, "\n\n")
}

// completeFlags completes the values of the flags of a command and of those below it.
func completeFlags(cmd *cobra.Command) {
	for name, complete := range flagCompletions(cmd) {
		_ = cmd.RegisterFlagCompletionFunc(name, complete) // it fails where there is one already
	}
	for _, c := range cmd.Commands() {
		completeFlags(c)
	}
}

// manCommand writes what packages install: it is no command for everyday.
func manCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "man DIR",
		Short:  "Write the man pages of all commands into a directory",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := existingDir(args[0]); err != nil {
				return usagef("man %q: %w", args[0], err)
			}
			root := cmd.Root()
			root.DisableAutoGenTag = true
			return doc.GenManTree(root, &doc.GenManHeader{Title: "TAPWATCH", Section: "8", Source: "Tapwatch"}, args[0])
		},
	}
}
