package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tapwatch/agent/config"
	"tapwatch/internal/sandbox/template"
)

// templateCommand is "tapwatch template": what sandboxes boot from.
func templateCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "template",
		Short: "Build, list, check and compare what sandboxes boot from",
		Args:  cobra.NoArgs,
		RunE:  help,
	}
	c.AddCommand(templateBuildCommand(), templateListCommand(), templateCheckCommand(), templateDiffCommand())
	return c
}

func templateBuildCommand() *cobra.Command {
	var o template.BuildOptions
	variants := []string{string(template.Default)}
	c := &cobra.Command{
		Use:   "build",
		Short: "Build a template from Debian packages, where it is not there yet",
		Long: `Build makes a template from Debian packages: the cloud kernel, a root file system
with bash and Python, and envd. Nothing is mounted or installed on this machine.
Package versions are looked up once and then kept; --force looks them up again
and builds anew. The variants but default each have the fault that their name
tells, and serve as drills.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(variants) == 1 && variants[0] == "all" {
				variants = variantNames()
			}
			if len(variants) == 0 {
				return usagef("--variant: must be %s or all", strings.Join(variantNames(), ", "))
			}
			for _, v := range variants {
				if !slices.Contains(variantNames(), v) {
					return usagef("--variant %q: must be %s or all", v, strings.Join(variantNames(), ", "))
				}
			}
			p := newProgress(cmd.ErrOrStderr())
			defer p.End()
			o.Step, o.Downloaded = p.Step, p.Bytes
			for i, v := range variants {
				if len(variants) > 1 {
					p.Of(i, len(variants))
				}
				o.Variant = template.Variant(v)
				if err := buildTemplate(cmd, o, p); err != nil {
					return err
				}
				o.Force = false // once for what the variants share
			}
			return nil
		},
	}
	c.Flags().StringVar(&o.Dir, "data-dir", template.DefaultDir, "directory of templates and kernels; must exist")
	config.Check(c.Flags(), "data-dir", existingDir)
	c.Flags().StringVar(&o.EnvdPath, "envd", "", "guest daemon, a static binary (default: envd beside this executable)")
	c.Flags().StringSliceVar(&variants, "variant", variants, "what to build: "+strings.Join(variantNames(), ", ")+" or all")
	_ = c.RegisterFlagCompletionFunc("variant", cobra.FixedCompletions(append(variantNames(), "all"), cobra.ShellCompDirectiveNoFileComp))
	c.Flags().BoolVar(&o.Force, "force", false, "look for newer packages, and build again what is there")
	return c
}

func variantNames() []string {
	var names []string
	for _, v := range template.Variants() {
		names = append(names, string(v))
	}
	return names
}

func buildTemplate(cmd *cobra.Command, o template.BuildOptions, p *progress) error {
	start := time.Now()
	t, err := template.Build(cmd.Context(), o)
	if err != nil {
		return err
	}
	p.Over(func() {
		fmt.Fprintf(cmd.OutOrStdout(), "%s\t%s\t%s\t%.1f s\n", o.Variant.Alias(), t.BuildID, t.Dir, time.Since(start).Seconds())
	})
	return nil
}

func templateListCommand() *cobra.Command {
	var store template.Store
	c := &cobra.Command{
		Use:   "list",
		Short: "List the templates; a damaged one is an error",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := store.List()
			var out table
			out.row("ALIAS", "TEMPLATE", "BUILD", "KERNEL", "ON DISK", "BUILT")
			for _, t := range list {
				out.row(orDash(strings.Join(t.Aliases, ", ")), t.ID, t.BuildID, t.KernelVersion, onDisk(t), builtAt(t))
			}
			return errors.Join(out.print(cmd.OutOrStdout(), screenOf(cmd.OutOrStdout())), err)
		},
	}
	c.Flags().StringVar(&store.Dir, "data-dir", template.DefaultDir, "directory of templates and kernels")
	config.Check(c.Flags(), "data-dir", existingDir)
	return c
}

// buildAll makes the templates that are not there yet, and says what it does.
func buildAll(ctx context.Context, to io.Writer, dir string, variants []template.Variant) error {
	p := newProgress(to)
	defer p.End()
	for _, v := range variants {
		o := template.BuildOptions{Dir: dir, Variant: v, Step: func(what string) { p.Step("template: " + what) }, Downloaded: p.Bytes}
		if _, err := template.Build(ctx, o); err != nil {
			return err
		}
	}
	return nil
}

// onDisk is what the sparse image takes, not what the guest sees.
func onDisk(t template.Template) string {
	n, err := t.OnDisk()
	if err != nil {
		return "?"
	}
	return fmt.Sprintf("%d MiB", n>>20)
}

func builtAt(t template.Template) string {
	if t.BuiltAt.IsZero() {
		return "-"
	}
	return t.BuiltAt.Local().Format(time.DateTime)
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
