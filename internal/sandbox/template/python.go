package template

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// compilePython does what the packages' scripts would: a guest compiles its
// imports at every start otherwise, which takes seconds under emulation. The
// compiled files do not depend on times, so that two builds agree.
func compilePython(ctx context.Context, root string) error {
	versions, err := filepath.Glob(filepath.Join(root, "usr/lib/python3.*"))
	if err != nil || len(versions) == 0 {
		return errors.New("compile Python's library: no python3 was unpacked")
	}
	lib := "/usr/lib/" + filepath.Base(versions[0])
	cmd := exec.CommandContext(ctx, "/usr/bin/python3", "-I", "-m", "compileall", "-q",
		"--invalidation-mode", "unchecked-hash", "-x", `/(test|tests|lib2to3|idlelib)/`, lib)
	ownGroup(cmd)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=/usr/bin:/bin", "LANG=C.UTF-8", "PYTHONHASHSEED=0"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Chroot: root}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("compile Python's library: %w", toolError(ctx, "python3", err, string(out)))
	}
	if compiled, _ := fs.Glob(os.DirFS(root), strings.TrimPrefix(lib, "/")+"/__pycache__/os.*.pyc"); len(compiled) == 0 {
		return errors.New("compile Python's library: nothing was compiled")
	}
	return nil
}
