package bpf

import (
	"sync"
	"weak"

	"github.com/cilium/ebpf/btf"
)

var types struct {
	mu sync.Mutex
	of weak.Pointer[btf.Cache]
}

// Types returns the types of the running kernel, which all programs are fitted to.
// Reading them takes some 40 ms and 10 MB: they are shared as long as somebody keeps
// what is returned, and gone after that. What is in them must not be changed.
func Types() *btf.Cache {
	types.mu.Lock()
	defer types.mu.Unlock()
	if c := types.of.Value(); c != nil {
		return c
	}
	c := btf.NewCache()
	types.of = weak.Make(c)
	return c
}
