// Package bpf holds the programs that run in the kernel, and what bpf2go makes
// of them: Go types for the shared structs, and the compiled objects, which are
// committed so that building the agent needs no clang.
//
// The C programs, their headers and the objects compiled from them are
// GPL-2.0-only OR BSD-2-Clause (LICENSES/): the kernel lends its helpers to
// GPL-compatible programs only. The Go code, bpf2go's too, is Apache-2.0 like the
// rest of the tree; the agent's binary carries the objects under BSD-2-Clause.
package bpf

//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel Tap tap.c -- -O2 -g -Wall -Werror -mcpu=v3
//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel Holders holders.c -- -O2 -g -Wall -Werror -mcpu=v3
//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel Listeners listeners.c -- -O2 -g -Wall -Werror -mcpu=v3
//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -no-global-types -type drop_place -type drop_run -type drop_kind Losses losses.c -- -O2 -g -Wall -Werror -mcpu=v3
//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel Exits exits.c -- -O2 -g -Wall -Werror -mcpu=v3
//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel Flow flow.c -- -O2 -g -Wall -Werror -mcpu=v3
//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel Listens listens.c -- -O2 -g -Wall -Werror -mcpu=v3
