// Command generate writes each dashboard's JSON beside the package, and below import what
// people import by hand; it is run there, by go generate.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"tapwatch/dashboards"
)

func main() {
	for name, text := range dashboards.Files() {
		if err := os.WriteFile(filepath.FromSlash(name), text, 0o644); err != nil {
			fmt.Fprintf(os.Stderr, "write %s: %v\n", name, err)
			os.Exit(1)
		}
	}
}
