package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tapwatch/agent/config"
	"tapwatch/internal/e2b"
	"tapwatch/internal/sandbox/api"
	"tapwatch/internal/sandbox/envd"
	"tapwatch/internal/sandbox/template"
)

// sandboxCommand is "tapwatch sandbox": a client of a launcher that runs.
func sandboxCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "sandbox",
		Short: "Create and use sandboxes of a running launcher",
		Args:  cobra.NoArgs,
		RunE:  help,
	}
	var client api.Client
	c.PersistentFlags().StringVar(&client.BaseURL, "api-url", "http://127.0.0.1:3000", "control API of the launcher")
	c.PersistentFlags().StringVar(&client.Key, "api-key", cmp.Or(os.Getenv("E2B_API_KEY"), "tapwatch"),
		"its API key; without keys of its own a launcher takes any (default $E2B_API_KEY)")
	c.PersistentFlags().Lookup("api-key").DefValue = "" // --help must not print the key
	config.Check(c.PersistentFlags(), "api-url", baseURL)
	c.AddCommand(
		sandboxCreateCommand(&client),
		sandboxListCommand(&client),
		sandboxExecCommand(&client),
		sandboxLogsCommand(&client),
		sandboxKillCommand(&client),
		sandboxConnectionsCommand(&client),
	)
	return c
}

func sandboxCreateCommand(client *api.Client) *cobra.Command {
	var o api.CreateOptions
	timeout := 5 * time.Minute
	c := &cobra.Command{
		Use:   "create",
		Short: "Launch a sandbox and print its id once it serves",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if timeout < time.Second || timeout%time.Second != 0 {
				return usagef("--timeout %s: must be whole seconds, and 1s at least", timeout)
			}
			o.Timeout = int(timeout / time.Second)
			var p *progress // nil: nobody waits at a terminal
			if screenOf(cmd.ErrOrStderr()).Width > 0 {
				p = newProgress(cmd.ErrOrStderr())
				p.Step("waiting for the sandbox to boot and to serve")
			}
			id, err := client.Create(cmd.Context(), o)
			if p != nil {
				p.End()
			}
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), id)
			return nil
		},
	}
	c.Flags().StringVarP(&o.Template, "template", "t", "base", "id or alias of the template")
	c.Flags().DurationVar(&timeout, "timeout", timeout, "how long the sandbox lives")
	c.Flags().StringVar(&o.Tapwatch.Name, "name", "", "a label, shown in lists")
	c.Flags().StringToStringVar(&o.Metadata, "metadata", nil, "KEY=VALUE to keep with the sandbox")
	c.Flags().StringToStringVarP(&o.EnvVars, "env", "e", nil, "KEY=VALUE for every command in it")
	c.Flags().BoolVar(&o.Tapwatch.NoNIC, "no-nic", false, "a drill: start the VM without its network interface")
	c.Flags().StringVar(&o.Tapwatch.Path, "path", "", "how the proxy reaches it: "+paths+" (default: the launcher's)")
	c.Flags().BoolVar(&o.Tapwatch.Keep, "keep", false, "keep it for a look where it never answers")
	pathWords(c.Flags())
	dataDir := template.DefaultDir
	_ = c.RegisterFlagCompletionFunc("template", templateNames(&dataDir, cobra.ShellCompDirectiveNoFileComp, 1))
	return c
}

func sandboxListCommand(client *api.Client) *cobra.Command {
	var output string
	c := &cobra.Command{
		Use:   "list",
		Short: "List the sandboxes, the newest first",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := client.List(cmd.Context())
			if err != nil {
				return err
			}
			if output == "json" {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(list)
			}
			return printSandboxes(cmd.OutOrStdout(), list)
		},
	}
	outputFlag(c, &output, "text or json", "text", "json")
	return c
}

func printSandboxes(to io.Writer, list []api.Info) error {
	var t table
	t.row("SANDBOX", "NAME", "TEMPLATE", "NETNS", "STATE", "STARTED", "ENDS")
	for _, s := range list {
		state := s.State
		// Up to where it begins to explain: doctor and logs tell the rest.
		if why, _, _ := strings.Cut(s.Tapwatch.Reason, ";"); why != "" {
			state += ": " + why
		}
		t.row(s.ID, orDash(s.Tapwatch.Name), cmp.Or(s.Alias, s.TemplateID),
			s.Tapwatch.Netns, state, s.StartedAt.Local().Format(time.DateTime), s.EndAt.Local().Format(time.DateTime))
	}
	return t.print(to, screenOf(to))
}

func sandboxExecCommand(client *api.Client) *cobra.Command {
	var (
		proxyURL string
		req      envd.ExecRequest
		stdin    bool
	)
	c := &cobra.Command{
		Use:   "exec SANDBOX -- COMMAND [ARG...]",
		Short: "Run a command in a sandbox, and exit as it does",
		Args:  cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			var sb api.Info
			err := byName(cmd.Context(), client, args[0], func(id string) (err error) {
				sb, err = client.Get(cmd.Context(), id)
				return err
			})
			if err != nil {
				return err
			}
			req.Cmd, req.Args = args[1], args[2:]
			if stdin {
				req.Stdin = cmd.InOrStdin()
			}
			guest := envd.Client{BaseURL: proxyURL, Header: routeTo(sb)}
			code, err := guest.Exec(cmd.Context(), req, cmd.OutOrStdout(), cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			if code != 0 {
				return exitCode(code)
			}
			return nil
		},
	}
	c.ValidArgsFunction = launched(client, false)
	c.Flags().StringVar(&proxyURL, "proxy-url", "http://127.0.0.1:49983", "URL of the proxy")
	config.Check(c.Flags(), "proxy-url", baseURL)
	c.Flags().StringVarP(&req.User, "user", "u", "", "user to run it as (default: the sandbox's)")
	c.Flags().StringVarP(&req.Cwd, "cwd", "w", "", "directory to run it in (default: the user's home)")
	c.Flags().StringToStringVarP(&req.Env, "env", "e", nil, "KEY=VALUE for the command")
	c.Flags().BoolVarP(&stdin, "stdin", "i", false, "pass standard input on")
	return c
}

// byName does something to a sandbox by its id, or else by its name or namespace: ids
// come first, since anybody may choose a name.
func byName(ctx context.Context, client *api.Client, who string, do func(id string) error) error {
	err := do(who)
	if refused := (*api.Error)(nil); !errors.As(err, &refused) || refused.Code != http.StatusNotFound {
		return err
	}
	if who == "" { // of a shell's variable that is not set; sandboxes without a name are not meant
		return usagef("%w", errNoName)
	}
	list, listErr := client.List(ctx)
	if listErr != nil {
		return err
	}
	var ids []string
	for _, s := range list {
		if s.Tapwatch.Name == who || s.Tapwatch.Netns == who {
			ids = append(ids, s.ID)
		}
	}
	switch len(ids) {
	case 0:
		return err
	case 1:
		return do(ids[0])
	}
	return fmt.Errorf("%d sandboxes are called %s: name one by its id: %s", len(ids), who, strings.Join(ids, ", "))
}

// routeTo returns the headers by which the proxy finds the sandbox, and envd its client.
func routeTo(sb api.Info) http.Header {
	h := http.Header{e2b.HeaderSandboxID: {sb.ID}, e2b.HeaderSandboxPort: {strconv.Itoa(e2b.EnvdPort)}}
	if sb.AccessToken != "" {
		h.Set(e2b.HeaderAccessToken, sb.AccessToken)
	}
	return h
}

func sandboxLogsCommand(client *api.Client) *cobra.Command {
	var follow bool
	c := &cobra.Command{
		Use:   "logs SANDBOX",
		Short: "Print the serial console of a sandbox",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			err := byName(cmd.Context(), client, args[0], func(id string) error {
				return client.Console(cmd.Context(), id, follow, cmd.OutOrStdout())
			})
			if cmd.Context().Err() == nil {
				return err
			}
			return nil // Ctrl-C is how following ends
		},
	}
	c.ValidArgsFunction = launched(client, false)
	c.Flags().BoolVarP(&follow, "follow", "f", false, "go on as it grows, until the sandbox ends")
	return c
}

func sandboxKillCommand(client *api.Client) *cobra.Command {
	return &cobra.Command{
		Use:               "kill SANDBOX...",
		Short:             "End sandboxes",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: launched(client, true),
		RunE: func(cmd *cobra.Command, ids []string) error {
			var failed []error
			for _, id := range ids {
				failed = append(failed, byName(cmd.Context(), client, id, func(id string) error { return client.Kill(cmd.Context(), id) }))
			}
			return errors.Join(failed...)
		},
	}
}
