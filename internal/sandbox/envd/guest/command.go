package guest

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	pb "tapwatch/internal/sandbox/envd/proto/process"
)

// command makes the command that a request asks for, as the user, in the
// user's environment; nothing is started yet.
func (s *Server) command(cfg *pb.ProcessConfig, as account, terminal bool) (*exec.Cmd, error) {
	if cfg.GetCmd() == "" {
		return nil, errors.New("cmd is empty")
	}
	_, workdir := s.settings.defaults()
	cwd := as.resolve(cfg.GetCwd(), workdir)
	if st, err := os.Stat(cwd); err != nil || !st.IsDir() {
		return nil, fmt.Errorf("cwd '%s' does not exist", cwd)
	}
	env := s.environmentOf(cfg, as, terminal)
	path, err := lookPath(cfg.GetCmd(), env["PATH"])
	if err != nil {
		return nil, err
	}
	return &exec.Cmd{
		Path:        path,
		Args:        append([]string{cfg.GetCmd()}, cfg.GetArgs()...),
		Env:         flatten(env),
		Dir:         cwd,
		SysProcAttr: &syscall.SysProcAttr{Credential: as.credential()},
	}, nil
}

// environmentOf merges, later ones winning: the user's own, /init's, the request's.
func (s *Server) environmentOf(cfg *pb.ProcessConfig, as account, terminal bool) map[string]string {
	env := map[string]string{
		"PATH": rootPath, "HOME": as.home, "USER": as.name, "LOGNAME": as.name, "LANG": "C.UTF-8",
	}
	if path := os.Getenv("PATH"); path != "" {
		env["PATH"] = path
	}
	if terminal {
		env["TERM"] = "xterm-256color"
	}
	maps.Copy(env, s.settings.environment())
	maps.Copy(env, cfg.GetEnvs())
	return env
}

func flatten(env map[string]string) []string {
	list := make([]string, 0, len(env))
	for _, k := range slices.Sorted(maps.Keys(env)) {
		list = append(list, k+"="+env[k])
	}
	return list
}

// lookPath finds an executable as execvp would with the child's PATH, which is
// not ours. A name with a slash is taken as it is, relative to the child's cwd.
func lookPath(name, path string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	for _, dir := range filepath.SplitList(path) {
		file := filepath.Join(dir, name)
		if st, err := os.Stat(file); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			return file, nil
		}
	}
	return "", fmt.Errorf("start '%s': %w", name, exec.ErrNotFound)
}
