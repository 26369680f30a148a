package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"tapwatch/agent"
	"tapwatch/agent/config"
)

func configCommand(file *string) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Check the agent's configuration, or show what is in force",
		Args:  cobra.NoArgs,
		RunE:  help,
	}
	cmd.AddCommand(configCheckCommand(file), configShowCommand(file))
	return cmd
}

func configCheckCommand(file *string) *cobra.Command {
	return &cobra.Command{
		Use:   "check [FILE]",
		Short: "Check a configuration file without starting anything",
		Long: `Check reads a configuration file as the agent would and says what is wrong in it,
a line each. Without FILE it is the one of --config or TAPWATCH_CONFIG, or else
` + config.DefaultFile + `. The exit status is 0 where the file is right, 1 where it is not,
64 where the command line is wrong.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, given []string) error {
			// Of the environment only the file's name counts: the file must be right by itself.
			l := config.Loader{File: *file, Fallback: config.DefaultFile}
			if len(given) > 0 {
				if err := config.FileName(given[0]); err != nil {
					return usagef("check %q: %w", given[0], err)
				}
				l.File = given[0]
			} else if l.File == "" {
				l.File = os.Getenv(config.Variable(config.FileFlag))
			}
			_, c, err := loadAgent(l)
			if err != nil {
				for _, line := range config.Lines(err) {
					fmt.Fprintln(cmd.ErrOrStderr(), line)
				}
				return exitCode(1)
			}
			if c.File == "" {
				return usagef("name a file: there is no %s", config.DefaultFile)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s: ok, %d rules\n", c.File, len(c.Rules))
			return nil
		},
	}
}

func configShowCommand(file *string) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Show every setting, its value and where that comes from",
		Long: `Show reads the same flags, variables and file as the agent and prints every
setting with the value that the agent would use, and its source. With -o yaml it
prints a configuration file. It shows no password.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, c, err := loadAgent(loaderOf(cmd, *file))
			if err != nil {
				return err
			}
			switch output {
			case "json":
				e := json.NewEncoder(cmd.OutOrStdout())
				e.SetIndent("", "  ")
				return e.Encode(map[string]any{"file": c.File, "settings": c.Settings})
			case "yaml":
				return c.WriteYAML(cmd.OutOrStdout())
			}
			return (&table{c.Table()}).print(cmd.OutOrStdout(), screenOf(cmd.OutOrStdout()))
		},
	}
	var flags agentFlags // only the command line is read into it: see loaderOf
	flags.addAlone(cmd.Flags())
	outputFlag(cmd, &output, "text, json or yaml", "text", "json", "yaml")
	return cmd
}

// agentConfig turns the settings into the agent's Config.
func agentConfig(f *agentFlags, c *config.Config) (agent.Config, error) {
	cfg, err := f.config()
	if err != nil {
		return cfg, err
	}
	cfg.ServicePort, cfg.HealthPath, cfg.E2B = f.servicePort, f.healthPath, c.E2B
	cfg.Rules = rulesOf(f, c)
	return cfg, nil
}

func rulesOf(f *agentFlags, c *config.Config) agent.Rules {
	return agent.Rules{Identity: c.Rules, Since: c.Modified, VMMUsers: f.vmmUsers.UIDs, Ignore: f.ignore, Silence: c.Silence, Checks: f.checks, LabelValues: f.groupLabelsMax}
}

// reconfigure puts the settings that can change into force in a running agent. All
// others need a restart, and the reloader says so.
func reconfigure(a *agent.Agent, f *agentFlags, c *config.Config) error {
	return a.Reconfigure(rulesOf(f, c))
}
