// Command generate writes each dashboard's JSON beside the package; it is run
// there, by go generate.
package main

import (
	"fmt"
	"os"

	"tapwatch/dashboards"
)

func main() {
	for name, d := range dashboards.All() {
		b, err := d.JSON()
		if err == nil {
			err = os.WriteFile(name, b, 0o644)
		}
		if err != nil {
			fmt.Fprintf(os.Stderr, "write %s: %v\n", name, err)
			os.Exit(1)
		}
	}
}
