package template

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// guestFiles are the files of the guest that no package brings.
//
//go:embed guest
var guestFiles embed.FS

// overlay says where they go and with which mode; all belong to root.
var overlay = []struct {
	from, to string
	mode     fs.FileMode
}{
	{from: "init", to: "sbin/init", mode: 0o755},
	{from: "passwd", to: "etc/passwd", mode: 0o644},
	{from: "group", to: "etc/group", mode: 0o644},
	{from: "shadow", to: "etc/shadow", mode: 0o640},
	{from: "nsswitch.conf", to: "etc/nsswitch.conf", mode: 0o644},
	{from: "hosts", to: "etc/hosts", mode: 0o644},
	{from: "hostname", to: "etc/hostname", mode: 0o644},
	{from: "resolv.conf", to: "etc/resolv.conf", mode: 0o644},
	{from: "profile", to: "etc/profile", mode: 0o644},
}

const (
	envdPath = "usr/bin/envd"
	userID   = 1000 // of "user", E2B's default
)

// stageRoot makes in dir the tree of one variant's image: the packages, by hard
// links, and on top of them what is ours. load lists the modules for /sbin/init,
// of which the NoDriver variant lacks the last, the NIC's.
func stageRoot(dir string, p packageTree, k kernelModules, v Variant, envd string) error {
	if err := linkTree(p.root(), dir); err != nil {
		return fmt.Errorf("stage root file system: %w", err)
	}
	steps := []func() error{
		func() error { return installOverlay(dir) },
		func() error { return spoilInit(filepath.Join(dir, "sbin/init"), v) },
		func() error { return installHome(dir) },
		func() error { return installModules(dir, k, v) },
		func() error { return linkBusybox(dir) },
	}
	if v != NoEnvd {
		steps = append(steps, func() error { return copyFile(envd, filepath.Join(dir, envdPath), 0o755) })
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return fmt.Errorf("stage root file system: %w", err)
		}
	}
	return nil
}

func installOverlay(root string) error {
	for _, f := range overlay {
		b, err := guestFiles.ReadFile("guest/" + f.from)
		if err != nil {
			return err
		}
		if err := installFile(filepath.Join(root, f.to), f.mode, b); err != nil {
			return err
		}
	}
	for _, dir := range []string{"dev", "proc", "sys", "run", "root", "mnt", "code"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			return err
		}
	}
	for _, dir := range []string{"tmp", "var/tmp"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			return err
		}
		if err := os.Chmod(filepath.Join(root, dir), 0o777|fs.ModeSticky); err != nil {
			return err
		}
	}
	return nil
}

// spoilInit gives /sbin/init the fault of its variant, if it has one.
func spoilInit(path string, v Variant) error {
	mode := fs.FileMode(0o755)
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	text := string(b)
	switch v {
	case InitShebang:
		text = strings.Replace(text, "#!", `#\!`, 1)
	case InitNotExecutable:
		mode = 0o644
	case InitNoCgroup:
		text = strings.Replace(text, "\ndelegate_cgroups\n", "\n", 1)
		text = strings.Replace(text, "mount -t cgroup2", "true", 1)
	default:
		return nil
	}
	return installFile(path, mode, []byte(text))
}

// installHome gives "user" a home with the skeleton that bash brings.
func installHome(root string) error {
	home := filepath.Join(root, "home/user")
	if err := os.MkdirAll(home, 0o755); err != nil {
		return err
	}
	for _, name := range []string{".bashrc", ".profile", ".bash_logout"} {
		b, err := os.ReadFile(filepath.Join(root, "etc/skel", name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if err := installFile(filepath.Join(home, name), 0o644, b); err != nil {
			return err
		}
		if err := os.Chown(filepath.Join(home, name), userID, userID); err != nil {
			return err
		}
	}
	return os.Chown(home, userID, userID)
}

func installModules(root string, k kernelModules, v Variant) error {
	dir := filepath.Join(root, "usr/lib/modules", k.release)
	missing := ""
	if v == NoDriver {
		missing = k.guest[len(k.guest)-1]
	}
	for _, module := range k.guest {
		if module == missing {
			continue
		}
		if err := copyFile(filepath.Join(k.dir, module), filepath.Join(dir, module), 0o644); err != nil {
			return err
		}
	}
	return installFile(filepath.Join(dir, "load"), 0o644, []byte(strings.Join(k.guest, "\n")+"\n"))
}

// busyboxTools are linked to busybox where no package brings them.
var busyboxTools = []string{
	"arping", "awk", "bunzip2", "clear", "cmp", "diff", "dmesg", "fdisk", "free", "gunzip",
	"gzip", "halt", "hexdump", "hostname", "ifconfig", "insmod", "ip", "kill", "killall",
	"less", "lsmod", "lsof", "modprobe", "more", "mount", "nc", "netstat", "nslookup", "pgrep", "pidof", "ping",
	"pkill", "poweroff", "ps", "reboot", "rmmod", "route", "setsid", "strings", "su", "sysctl", "tar", "telnet",
	"top", "umount", "unzip", "uptime", "vi", "watch", "wget", "which", "xxd", "xz",
}

func linkBusybox(root string) error {
	for _, name := range busyboxTools {
		if exists(filepath.Join(root, "usr/sbin", name)) {
			continue
		}
		err := os.Symlink("busybox", filepath.Join(root, "usr/bin", name))
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}
