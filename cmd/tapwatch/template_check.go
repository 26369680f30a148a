package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tapwatch/agent/config"
	"tapwatch/agent/draw"
	"tapwatch/internal/catalog"
	"tapwatch/internal/image"
	"tapwatch/internal/sandbox/template"
)

func templateCheckCommand() *cobra.Command {
	var f templateFinder
	var output string
	c := &cobra.Command{
		Use:   "check DIR|IMAGE|NAME",
		Short: "See whether a guest can start from a template",
		Long: `Check reads a template's image without mounting it, also while a VM uses it:
/sbin/init and its shebang, cgroup2, envd, metadata.json in storage and cache, and
whether this host has the kernel and the VMM that the template names. The exit
status is 0 where all is well, 1 where something is broken, 2 where that could
not be told.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			t, results, err := f.check(cmd, args[0])
			if err != nil {
				return undecided(cmd, err)
			}
			if output == "json" {
				err = json.NewEncoder(cmd.OutOrStdout()).Encode(map[string]any{"template": args[0], "image": t.Rootfs, "checks": results})
			} else {
				drawChecks(cmd.OutOrStdout(), t, results, screenOf(cmd.OutOrStdout()))
			}
			if err != nil {
				return err
			}
			return checkStatus(results)
		},
	}
	f.add(c)
	c.ValidArgsFunction = templateNames(&f.store.Dir, cobra.ShellCompDirectiveDefault, 1)
	outputFlag(c, &output, "text or json", "text", "json")
	return c
}

// check reads a template, within the time that a store may take.
func (f *templateFinder) check(cmd *cobra.Command, name string) (t *image.Template, results []image.Result, err error) {
	err = f.inTime(cmd, func() error {
		if t, err = f.open(cmd, name); err != nil {
			return err
		}
		results = image.Check(t, f.hostOf(t))
		return t.Close()
	})
	return t, results, err
}

// inTime gives up work that takes too long, or that the user ends: what hangs in
// a store's read goes with the process.
func (f *templateFinder) inTime(cmd *cobra.Command, work func() error) error {
	done := make(chan error, 1)
	go func() { done <- work() }()
	select {
	case err := <-done:
		return err
	case <-cmd.Context().Done():
		return context.Cause(cmd.Context())
	case <-time.After(f.timeout):
		return fmt.Errorf("reading took longer than --timeout %v: does the storage hang?", f.timeout)
	}
}

// undecided says why, in a line, and has the exit status say that nothing could be told.
// A command line that is wrong says so by its own.
func undecided(cmd *cobra.Command, err error) error {
	if errors.As(err, new(usageError)) {
		return err
	}
	complain(cmd.ErrOrStderr(), err)
	return exitUndecided
}

func checkStatus(results []image.Result) error {
	var worst error
	for _, r := range results {
		switch r.State {
		case image.Broken:
			return exitFinding
		case image.Unknown:
			worst = exitUndecided
		}
	}
	return worst
}

func drawChecks(w io.Writer, t *image.Template, results []image.Result, on draw.Screen) {
	title := t.Name + "  " + t.Rootfs
	if strings.HasPrefix(t.Rootfs, t.Name) { // it was given by its path
		title = t.Rootfs
	}
	fmt.Fprintln(w, title)
	marks := map[image.State]string{image.OK: "ok", image.Broken: "BROKEN", image.Unknown: "?"}
	for _, r := range results {
		head := fmt.Sprintf("  %-9s %-7s ", r.Check, marks[r.State])
		fmt.Fprintln(w, head+on.Fold(r.Detail, len(head)))
	}
	for _, r := range results {
		if p := r.Problem; p != nil {
			on.Point(w, "cause", p.Cause)
			for _, e := range p.Evidence {
				on.Point(w, "evidence", e)
			}
			on.Point(w, "to do", p.Fix)
			on.Point(w, "see", "docs/checks/"+p.Code+".md")
		}
	}
}

// templateFinder are the flags that say where templates and what they need are.
type templateFinder struct {
	store            template.Store
	host             image.Host
	catalog, storage string
	timeout          time.Duration
}

func (f *templateFinder) add(c *cobra.Command) {
	c.Flags().StringVar(&f.store.Dir, "data-dir", template.DefaultDir, "directory of tapwatch's own templates and kernels, for names")
	c.Flags().StringVar(&f.catalog, "catalog", "", "postgres:// URL of E2B's database: a name is then an alias, namespace/alias or template id, with :tag")
	c.Flags().StringVar(&f.storage, "storage", "", "with --catalog: the template storage, {build}/rootfs.ext4; empty: that of --data-dir")
	c.Flags().StringVar(&f.host.Kernels, "kernels", "", "directory of {version}/vmlinux.bin; empty: beside the template's storage, or /fc-kernels")
	c.Flags().StringVar(&f.host.VMMs, "fc-versions", "", "directory of {version}/firecracker; empty: beside the template's storage, or /fc-versions")
	c.Flags().StringVar(&f.host.Cache, "cache", "", "the template cache, {build}/cache/{id}/metadata.json; empty: not looked at")
	c.Flags().DurationVar(&f.timeout, "timeout", 2*time.Minute, "how long reading may take")
	config.Check(c.Flags(), "data-dir", existingDir)
	notNegative(c.Flags(), "timeout")
}

// open finds a template by path or name.
func (f *templateFinder) open(cmd *cobra.Command, name string) (*image.Template, error) {
	if f.catalog != "" {
		return f.openByCatalog(cmd, name)
	}
	if _, err := os.Stat(name); err == nil || strings.ContainsRune(name, filepath.Separator) {
		return image.Open(name)
	}
	dir, err := f.store.Locate(name)
	if err != nil {
		return nil, fmt.Errorf("%w, and no such file or directory", err)
	}
	return named(name, dir)
}

// openByCatalog asks E2B's database for the build of a name.
func (f *templateFinder) openByCatalog(cmd *cobra.Command, name string) (_ *image.Template, err error) {
	if u, err := url.Parse(f.catalog); err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" { // it may hold a password
		return nil, usagef("--catalog: must be a URL like postgres://user@host/database")
	}
	c, err := catalog.Open(cmd.Context(), f.catalog)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	e, err := c.Find(cmd.Context(), name)
	if err != nil {
		return nil, err
	}
	storage := cmp.Or(f.storage, filepath.Join(f.store.Dir, "templates"))
	if !filepath.IsLocal(e.BuildID) {
		return nil, fmt.Errorf("find %s: build %q is not a directory's name", name, e.BuildID)
	}
	t, err := named(name, filepath.Join(storage, e.BuildID))
	if err != nil {
		return nil, fmt.Errorf("%s is build %s of template %s, which --storage %s does not hold: %w", name, e.BuildID, e.TemplateID, storage, err)
	}
	return t, nil
}

func named(name, dir string) (*image.Template, error) {
	t, err := image.Open(dir)
	if err != nil {
		return nil, err
	}
	t.Name = name
	return t, nil
}

// hostOf is the flags, and where they are empty what is usual.
func (f *templateFinder) hostOf(t *image.Template) image.Host {
	h := f.host
	beside := filepath.Dir(filepath.Dir(t.Dir)) // {data}/templates/{buildID}
	if h.Kernels == "" {
		h.Kernels = firstDir(filepath.Join(beside, "kernels"), "/fc-kernels")
	}
	if h.VMMs == "" {
		h.VMMs = firstDir(filepath.Join(beside, "fc-versions"), "/fc-versions")
	}
	return h
}

// firstDir is the first that exists, or "".
func firstDir(dirs ...string) string {
	for _, d := range dirs {
		if st, err := os.Stat(d); err == nil && st.IsDir() {
			return d
		}
	}
	return ""
}
