package qemu

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// Verdict says whether KVM runs guests on this machine.
type Verdict struct {
	KVM    bool   `json:"kvm"`
	Reason string `json:"reason"` // why not
	BootID string `json:"boot_id"`
}

// Accel returns the accelerator to use.
func (v Verdict) Accel() Accel {
	if v.KVM {
		return KVM
	}
	return TCG
}

func readVerdict(runDir string) (v Verdict, err error) {
	if runDir == "" {
		return v, os.ErrNotExist
	}
	b, err := os.ReadFile(filepath.Join(runDir, "kvm.json"))
	if err != nil {
		return v, err
	}
	return v, json.Unmarshal(b, &v)
}

func (v Verdict) write(runDir string) error {
	if runDir == "" {
		return nil
	}
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("keep verdict on KVM: %w", err)
	}
	if err := os.MkdirAll(runDir, 0o755); err != nil {
		return fmt.Errorf("keep verdict on KVM: %w", err)
	}
	tmp := filepath.Join(runDir, "kvm.json.tmp")
	if err := os.WriteFile(tmp, b, 0o644); err != nil {
		return fmt.Errorf("keep verdict on KVM: %w", err)
	}
	if err := os.Rename(tmp, filepath.Join(runDir, "kvm.json")); err != nil {
		return fmt.Errorf("keep verdict on KVM: %w", err)
	}
	return nil
}
