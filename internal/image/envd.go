package image

import (
	"debug/elf"
	"fmt"
	"io"
	"path"
	"strings"
)

const elfMagic = "\x7fELF"

// envdPlaces are where envd may lie, E2B's place first.
var envdPlaces = []string{"usr/bin/envd", "usr/local/bin/envd", "usr/sbin/envd", "opt/envd", "opt/envd/envd"}

// envdDirs are searched for whatever bears envd's name, its wrapper among others.
var envdDirs = []string{"usr/bin", "usr/local/bin", "usr/sbin", "opt", "opt/envd", "etc/systemd/system", "etc/init.d"}

// machines are what the hosts of an architecture run.
var machines = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}

// envd returns the daemon's binary; "" where there is none.
func (t *Template) envd() string {
	for _, name := range envdPlaces {
		if info, err := t.FS.Stat(name); err == nil && info.Mode().IsRegular() && !t.isScript(name) {
			return name
		}
	}
	return ""
}

// wrapper returns the script that starts envd; "" where there is none.
func (t *Template) wrapper() string {
	for _, dir := range envdDirs {
		list, err := t.FS.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, e := range list {
			name := path.Join(dir, e.Name())
			if strings.Contains(e.Name(), "envd") && (t.isScript(name) || strings.HasSuffix(name, ".service") || strings.HasSuffix(name, ".sh")) {
				return name
			}
		}
	}
	return ""
}

func (t *Template) isScript(name string) bool {
	b, err := t.head(name)
	return err == nil && strings.HasPrefix(b, "#")
}

func checkEnvd(t *Template, _ Host) *Result {
	name := t.envd()
	if name == "" {
		return wrong("envd-missing", "the image has no envd", "put envd into the image, as /usr/bin/envd with mode 755",
			"looked for /"+strings.Join(envdPlaces, ", /"))
	}
	info, err := t.FS.Stat(name)
	if err != nil {
		return unsure(err.Error())
	}
	const code = "envd-not-runnable"
	if info.Mode()&0o111 == 0 {
		return wrong(code, "/"+name+" is not executable", "chmod 755 /"+name+" in the image", "its mode is "+info.Mode().String())
	}
	why, err := t.notRunnable(name)
	switch {
	case err != nil:
		return unsure(err.Error())
	case why != "":
		return wrong(code, "this host's guests cannot run /"+name+": "+why, "install envd as it is built for "+arch)
	}
	return fine(fmt.Sprintf("/%s, %s", name, bytesOf(info.Size())))
}

// notRunnable says why a guest of this host cannot run a program; "" is nothing.
func (t *Template) notRunnable(name string) (why string, err error) {
	f, err := t.FS.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	r, ok := f.(io.ReaderAt)
	if !ok {
		return "", fmt.Errorf("/%s cannot be read", name)
	}
	e, err := elf.NewFile(r)
	if err != nil {
		return "it is no ELF program", nil
	}
	defer e.Close()
	if want, ok := machines[arch]; ok && e.Machine != want {
		return fmt.Sprintf("it is built for %v, not for %v", e.Machine, want), nil
	}
	for _, p := range e.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		b := make([]byte, min(p.Filesz, 4096))
		if _, err := p.ReadAt(b, 0); err != nil {
			return "its dynamic linker's name cannot be read", nil
		}
		loader := strings.TrimRight(string(b), "\x00")
		if _, err := t.FS.Stat(inImage(loader)); missing(err) {
			return "the image lacks its dynamic linker " + clip(loader), nil
		}
	}
	return "", nil
}
