package image

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
)

const (
	metadataName = "metadata.json"
	maxMetadata  = 1 << 20
)

// Versions is what metadata.json says a build is booted with.
type Versions struct {
	BuildID string `json:"build_id"`
	Kernel  string `json:"kernel_version"`
	VMM     string `json:"firecracker_version"` // empty: another VMM than Firecracker
}

// readVersions reads metadata.json in its present form or the older flat one.
func readVersions(path string) (Versions, error) {
	f, err := os.Open(path)
	if err != nil {
		return Versions{}, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxMetadata))
	if err != nil {
		return Versions{}, err
	}
	var m struct {
		Template *Versions `json:"template"`
		BuildID  string    `json:"buildID"`
		Kernel   string    `json:"kernelVersion"`
		VMM      string    `json:"firecrackerVersion"`
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return Versions{}, fmt.Errorf("%s: %w", path, err)
	}
	v := Versions{BuildID: m.BuildID, Kernel: m.Kernel, VMM: m.VMM}
	if m.Template != nil {
		v = *m.Template
	}
	if v.BuildID == "" || v.BuildID != filepath.Base(v.BuildID) {
		return v, fmt.Errorf("%s: %w", path, errors.New("it names no build"))
	}
	return v, nil
}

// arch is this host's, as E2B names directories.
var arch = runtime.GOARCH

// find returns where a versioned file is: {dir}/{version}/{name}, or in a folder of
// the architecture below.
func find(dir, version, name string) (string, error) {
	if version == "" || version != filepath.Base(version) || version[0] == '.' {
		return "", fmt.Errorf("version %q is not a directory's name", version)
	}
	plain := filepath.Join(dir, version, name)
	for _, path := range []string{plain, filepath.Join(dir, version, arch, name)} {
		if st, err := os.Stat(path); err == nil && st.Mode().IsRegular() && st.Size() > 0 {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s is not there, or empty", plain)
}
