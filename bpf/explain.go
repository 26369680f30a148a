package bpf

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
)

// Explain says which privilege or kernel feature a refused load lacks.
func Explain(err error) error {
	switch {
	case errors.Is(err, ebpf.ErrNotSupported):
		return fmt.Errorf("%w: needs Linux 5.15 or newer with BTF", err)
	case errors.Is(err, btf.ErrNotFound):
		return fmt.Errorf("%w: the kernel has no BTF (CONFIG_DEBUG_INFO_BTF)", err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: needs root, or CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN", err)
	}
	return err
}
