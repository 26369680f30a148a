// Command tapwatch watches the whole path to every sandbox of a host, and
// launches sandboxes of its own. Each file beside this one is one command.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/prometheus/common/version"
	"github.com/spf13/cobra"

	"tapwatch/internal/drill"
)

func main() {
	if drill.StandsIn() { // a process of tapwatch drill, which is no command
		if err := drill.StandIn(); err != nil {
			complain(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	root := rootCommand()
	ran, err := root.ExecuteContextC(ctx)
	stop()
	var code exitCode
	switch {
	case err == nil:
	case errors.As(err, &code):
		os.Exit(int(code))
	case isUsage(ran, os.Args[1:], err):
		complain(os.Stderr, err)
		os.Exit(exitUsage)
	default:
		complain(os.Stderr, err)
		os.Exit(1)
	}
}

// complain writes an error in one line: joined errors, and those of some libraries,
// are several, and may say the same twice.
func complain(w io.Writer, err error) {
	var parts []string
	for line := range strings.Lines(err.Error()) {
		if line = strings.TrimSpace(line); line != "" && !slices.Contains(parts, line) {
			parts = append(parts, line)
		}
	}
	fmt.Fprintln(w, "tapwatch: "+strings.NewReplacer(":; ", ": ", "?; ", "? ").Replace(strings.Join(parts, "; ")))
}

// exitCode is an error that only sets the exit status: all was said already.
type exitCode int

func (c exitCode) Error() string { return fmt.Sprintf("exit status %d", int(c)) }

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "tapwatch",
		Short:         "Watch the whole path to every microVM sandbox of a host",
		Version:       version.Info(),
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	var logs logFlags
	logs.add(root.PersistentFlags())
	root.PersistentPreRunE = func(*cobra.Command, []string) error {
		_, err := logs.use()
		return err
	}
	grouped(root, groupWatch, "Watch a host:",
		agentCommand(), doctorCommand(), topCommand(), eventsCommand(), captureCommand(), mcpCommand(), rulesCommand())
	grouped(root, groupLaunch, "Launch sandboxes:",
		upCommand(), serveCommand(), sandboxCommand(), templateCommand(), proxyCommand(), relayCommand())
	grouped(root, groupOther, "Everything else:",
		drillCommand(), cleanupCommand(), versionCommand())
	root.SetHelpCommandGroupID(groupOther)
	root.SetCompletionCommandGroupID(groupOther)
	root.AddCommand(manCommand())
	root.SetFlagErrorFunc(flagError)
	wrapHelp(root)
	completeFlags(root)
	return root
}

// help is what a command does that is only the head of others. Having something
// to do, it refuses words that it does not know.
func help(cmd *cobra.Command, _ []string) error { return cmd.Help() }
