package template

import (
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"fmt"
	"io"
	"os"
)

// buildID derives a build's id from all that goes into it, in the look of a UUID
// (version 8: made by the application's own rule).
func buildID(packages []string, v Variant, envd string) string {
	h := sha256.New()
	fmt.Fprintf(h, "recipe %s\nvariant %s\nenvd %s\nsize %d\n", recipe, v, envd, imageSize)
	for _, p := range packages {
		fmt.Fprintf(h, "package %s\n", p)
	}
	fmt.Fprintln(h, initrdModules, guestModules, busyboxTools, overlay)
	entries, _ := guestFiles.ReadDir("guest") // embedded: cannot fail
	for _, e := range entries {
		b, _ := guestFiles.ReadFile("guest/" + e.Name())
		fmt.Fprintf(h, "file %s %d\n", e.Name(), len(b))
		h.Write(b)
	}
	u := h.Sum(nil)[:16]
	u[6] = u[6]&0x0f | 0x80
	u[8] = u[8]&0x3f | 0x80
	s := hex.EncodeToString(u)
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}

// hashEnvd returns the sha256 of the guest daemon, having seen that a guest can run it.
func hashEnvd(o BuildOptions) (string, error) {
	if o.Variant == NoEnvd {
		return "", nil
	}
	f, err := os.Open(o.EnvdPath)
	if err != nil {
		return "", fmt.Errorf("guest daemon: %w: build it with `CGO_ENABLED=0 go build ./cmd/envd`, or name it with --envd", err)
	}
	defer f.Close()
	if err := checkStatic(f); err != nil {
		return "", fmt.Errorf("guest daemon %s: %w: build it with `CGO_ENABLED=0 go build ./cmd/envd`", o.EnvdPath, err)
	}
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("guest daemon: %w", err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// checkStatic refuses what needs libraries: they might not be in the guest.
func checkStatic(f *os.File) error {
	e, err := elf.NewFile(f)
	if err != nil {
		return fmt.Errorf("not an ELF executable")
	}
	if e.Machine != elf.EM_X86_64 {
		return fmt.Errorf("built for %v, not for amd64", e.Machine)
	}
	for _, p := range e.Progs {
		if p.Type == elf.PT_INTERP {
			return fmt.Errorf("not statically linked")
		}
	}
	return nil
}
