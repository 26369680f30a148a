package bpf

import (
	"runtime"
	"sync"
	"weak"

	"github.com/cilium/ebpf/btf"
)

// types are those of the running kernel, which all programs are fitted to. Reading
// them takes some 40 ms and 10 MB: they are shared as long as somebody keeps them.
// They are decoded as they are asked for, by one at a time.
var types struct {
	mu sync.Mutex
	of weak.Pointer[btf.Cache]
}

// Types lends the types of the running kernel until they are given back. Who has
// them must not ask for them again. What is in them must not be changed.
func Types() (c *btf.Cache, giveBack func()) {
	types.mu.Lock()
	return current(), types.mu.Unlock
}

// ShareTypes keeps one copy of the kernel's types in memory until release is called.
func ShareTypes() (release func()) {
	c, giveBack := Types()
	giveBack()
	return func() { runtime.KeepAlive(c) }
}

// Modules returns the types of those kernel modules that are loaded: a struct of a module
// is not among the kernel's own.
func Modules(c *btf.Cache, names ...string) (loaded []*btf.Spec) {
	for _, name := range names {
		if module, err := c.Module(name); err == nil {
			loaded = append(loaded, module)
		}
	}
	return loaded
}

func current() *btf.Cache {
	if c := types.of.Value(); c != nil {
		return c
	}
	c := btf.NewCache()
	types.of = weak.Make(c)
	return c
}
