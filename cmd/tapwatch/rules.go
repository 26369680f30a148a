package main

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"tapwatch/agent/config"
	"tapwatch/dashboards"
)

func rulesCommand() *cobra.Command {
	var external, grafana string
	cmd := &cobra.Command{
		Use:   "rules",
		Short: "Print the alert rules for Prometheus",
		Long: `Rules prints the alert rules for Prometheus, and for vmalert. With --external-url the
runbook of each alert is a page that an agent serves there; with --dashboard-url
each alert also has the address of the dashboard that shows it.`,
		Example: `  tapwatch rules --external-url https://tapwatch.example > rules.yml
  tapwatch rules --dashboard-url https://grafana.example > rules.yml; promtool check rules rules.yml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprint(cmd.OutOrStdout(), dashboards.Rules(address(external), address(grafana)))
			return err
		},
	}
	cmd.Flags().StringVar(&external, "external-url", "", "where whoever is paged reaches an agent, or a proxy before one")
	cmd.Flags().StringVar(&grafana, "dashboard-url", "", "where whoever is paged reaches the Grafana that has the dashboards")
	config.Check(cmd.Flags(), "external-url", linkable)
	config.Check(cmd.Flags(), "dashboard-url", linkable)
	return cmd
}

// linkable refuses what no path can be put behind.
func linkable(value string) error {
	if value == "" {
		return nil
	}
	if u, err := url.Parse(value); err != nil || baseURL(value) != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return errors.New("must be a URL like https://tapwatch.example/agent, without ? and #")
	}
	return nil
}

// address is a URL that linkable took, escaped, so that nothing in it is a template.
func address(value string) string {
	u, err := url.Parse(value)
	if err != nil {
		return ""
	}
	return strings.TrimRight(u.String(), "/")
}
