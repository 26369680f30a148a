package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/common/version"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"tapwatch/agent/capture"
	"tapwatch/agent/config"
	"tapwatch/agent/path"
	"tapwatch/internal/clean"
	"tapwatch/internal/registry"
)

func captureCommand() *cobra.Command {
	var (
		agentURL, file string
		mib            int
		limits         capture.Limits
		look           = agentFlags{hops: true}
	)
	cmd := &cobra.Command{
		Use:   "capture SANDBOX",
		Short: "Record the packets of a sandbox at every point of its path",
		Long: `Capture records the packets of one sandbox at all devices of its path at once: the
host's end of the veth pair, the namespace's end and the tap. It writes one pcapng
file (Wireshark, tshark), with an interface for each device. Frames that did not
come from one device to the next have a comment: tshark -r FILE -Y frame.comment.
It changes nothing on the path. It ends after --for, at --max-size or by Ctrl-C, and
writes what it has. The frames hold what was sent: keep the file as you keep secrets.`,
		Example: `  tapwatch capture web-1 --for 10s --port 49983 -w web-1.pcapng
  tapwatch capture ns-7 -w - | tshark -r -`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if file == "-" && screenOf(cmd.OutOrStdout()).Width > 0 {
				return usagef("--write -: a terminal cannot show packets: name a file, or pipe them into a program")
			}
			slots, err := pathsOf(cmd, agentURL, false, look)
			if err == nil {
				slots, err = chosen(slots, args, true)
			}
			if err != nil {
				return err
			}
			if len(slots) > 1 {
				return usagef("%d sandboxes are called %s: name one by its id or namespace", len(slots), args[0])
			}
			limits.Bytes = mib << 20
			return runCapture(cmd, slots[0], limits, file)
		},
	}
	f := cmd.Flags()
	agentURLFlag(f, &agentURL)
	f.DurationVar(&limits.For, "for", 10*time.Second, "how long to record")
	f.Uint16Var(&limits.Port, "port", 0, "only TCP and UDP from or to this port, and ARP (0: everything)")
	f.IntVar(&mib, "max-size", 64, "end after this many MiB of frames")
	f.StringVarP(&file, "write", "w", "", "file to write; - is standard output")
	f.StringVar(&look.runDir, "run-dir", registry.DefaultDir, "without an agent: directory of the launchers' records")
	_ = cmd.MarkFlagRequired("write")
	config.Check(f, "write", config.FileName)
	config.Check(f, "for", positive)
	config.Check(f, "max-size", positive)
	cmd.ValidArgsFunction = watched(&agentURL)
	return cmd
}

func runCapture(cmd *cobra.Command, s path.Slot, limits capture.Limits, file string) error {
	plan, err := capture.PlanOf(s)
	if err != nil {
		return fmt.Errorf("capture: %w", err)
	}
	save, abort := cmd.OutOrStdout(), func() {}
	var done func() error
	if file != "-" { // where it cannot be written, that is said before and not after the recording
		// The file is put in place at the end, which would replace a device, a pipe, or a link such as /dev/stdout.
		if st, err := os.Lstat(file); err == nil && !st.Mode().IsRegular() {
			return usagef("--write %s: is not a regular file; - is standard output", file)
		}
		f, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+".*")
		if why := (*os.PathError)(nil); errors.As(err, &why) {
			err = why.Err
		}
		if err != nil {
			return fmt.Errorf("--write %s: %w", file, err)
		}
		abort = func() { f.Close(); os.Remove(f.Name()) }
		save, done = f, func() error { return errors.Join(f.Close(), os.Rename(f.Name(), file)) }
	}
	defer func() { abort() }()
	fmt.Fprintf(cmd.ErrOrStderr(), "recording %s for %v\n", pointNames(plan), limits.For)
	r, err := capture.Record(cmd.Context(), plan.Points, limits)
	if err != nil {
		if errors.Is(err, unix.EPERM) {
			err = fmt.Errorf("%w: run it as root", err)
		}
		return fmt.Errorf("capture: %w", err)
	}
	lost, unknown := r.MarkLost(plan.Pairs)
	if err := r.WritePcapng(save, "tapwatch "+version.Version); err != nil {
		return fmt.Errorf("write packets: %w", err)
	}
	if done != nil {
		if err := done(); err != nil {
			return fmt.Errorf("--write %s: %w", file, err)
		}
		abort = func() {}
	}
	sayCapture(cmd.ErrOrStderr(), r, lost, unknown)
	return nil
}

func pointNames(p capture.Plan) string {
	text := ""
	for i, at := range p.Points {
		if i > 0 {
			text += ", "
		}
		text += clean.Text(at.Device)
	}
	return text
}

// sayCapture sums up a recording.
func sayCapture(w io.Writer, r *capture.Recording, lost []capture.Lost, unknown []string) {
	fmt.Fprintf(w, "%d frames at %d points\n", len(r.Frames), len(r.Points))
	if r.Full {
		fmt.Fprintln(w, "it ended at --max-size")
	}
	for i, n := range r.Missed {
		if n > 0 {
			fmt.Fprintf(w, "%d frames at %s came faster than they could be read\n", n, clean.Text(r.Points[i].Device))
		}
	}
	for _, l := range lost {
		fmt.Fprintf(w, "lost: %d of %d frames of %s did not come to %s\n", l.Count, l.Of, clean.Text(l.After), clean.Text(l.Before))
	}
	for _, pair := range unknown {
		fmt.Fprintf(w, "whether frames were lost between %s is not known\n", clean.Text(pair))
	}
}
