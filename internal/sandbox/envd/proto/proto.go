// Package proto holds envd's Connect RPC services: one folder a service, with
// its .proto and the Go generated from it. It needs no protoc: the generator is
// a Go module of its own, so that the compiler stays out of ours.
package proto

//go:generate go run -C generate . -out .. process/process.proto filesystem/filesystem.proto
