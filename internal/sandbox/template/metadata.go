package template

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Metadata is metadata.json, version 2, as E2B writes it. Fields that nothing
// here reads are left out, and ignored when read.
type Metadata struct {
	Version  int      `json:"version"`
	Template Versions `json:"template"`
	Context  Context  `json:"context"`
	Start    *Start   `json:"start,omitempty"`
	// FromImage is where the root file system comes from, e.g. "debian:bookworm".
	FromImage *string `json:"from_image,omitempty"`
	// Built is ours: what a build was made from. Nil in a template of others.
	Built *Built `json:"tapwatch,omitempty"`

	// TemplateID is known from version 1 only.
	TemplateID string `json:"-"`
}

// Versions names the parts of a build.
type Versions struct {
	BuildID            string `json:"build_id"`
	KernelVersion      string `json:"kernel_version"`      // directory under {data}/kernels
	FirecrackerVersion string `json:"firecracker_version"` // empty: booted by another VMM
}

// Context is the user, directory and environment that commands run with.
type Context struct {
	User    string            `json:"user,omitempty"`
	WorkDir *string           `json:"workdir,omitempty"`
	EnvVars map[string]string `json:"env_vars,omitempty"`
}

// Start is a command that E2B runs before it takes the snapshot.
type Start struct {
	StartCommand string  `json:"start_command"`
	ReadyCommand string  `json:"ready_command"`
	Context      Context `json:"context"`
}

// Built says what one of our builds was made from.
type Built struct {
	Alias      string    `json:"alias"`
	Variant    Variant   `json:"variant"`
	EnvdSHA256 string    `json:"envd_sha256,omitempty"` // empty where the image has none
	Packages   []string  `json:"packages"`              // name=version
	BuiltAt    time.Time `json:"built_at"`
}

// flatMetadata is the older form, read as version 1.
type flatMetadata struct {
	KernelVersion      string `json:"kernelVersion"`
	FirecrackerVersion string `json:"firecrackerVersion"`
	BuildID            string `json:"buildID"`
	TemplateID         string `json:"templateID"`
}

// ParseMetadata reads either form. A missing build id or kernel version is an
// error: nothing could be booted from it.
func ParseMetadata(b []byte) (Metadata, error) {
	var m Metadata
	if err := json.Unmarshal(b, &m); err != nil {
		return Metadata{}, fmt.Errorf("parse metadata: %w", err)
	}
	if m.Version == 0 {
		var flat flatMetadata
		if err := json.Unmarshal(b, &flat); err != nil {
			return Metadata{}, fmt.Errorf("parse metadata: %w", err)
		}
		m = Metadata{Version: 1, TemplateID: flat.TemplateID, Template: Versions{
			BuildID: flat.BuildID, KernelVersion: flat.KernelVersion, FirecrackerVersion: flat.FirecrackerVersion,
		}}
	}
	if m.Template.BuildID == "" {
		return Metadata{}, errors.New("parse metadata: no build id")
	}
	if v := m.Template.KernelVersion; !isName(v) {
		return Metadata{}, fmt.Errorf("parse metadata: kernel version %q is not a directory name", v)
	}
	return m, nil
}

// isName reports whether s names an entry of a directory: it cannot lead elsewhere.
func isName(s string) bool { return s != "" && s[0] != '.' && s == filepath.Base(s) }

func (m Metadata) write(path string) error {
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return fmt.Errorf("write metadata: %w", err)
	}
	if err := os.WriteFile(path, append(b, '\n'), 0o644); err != nil {
		return fmt.Errorf("write metadata: %w", err)
	}
	return nil
}
