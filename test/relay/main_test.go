// Package relay puts our data path beside what it replaces: Debian's socat,
// HAProxy and nginx, and a connection without any of them. Tests show what each
// does to a connection that does not end in order, benchmarks (make bench-relay)
// how fast it is. All of it goes over veth pairs between namespaces.
package relay

import (
	"flag"
	"fmt"
	"os"
	"testing"
	"time"
)

var (
	rounds = flag.Int("rounds", 5, "of each benchmark; all contenders have their turn in each")
	only   = flag.String("only", "", "of the contenders, by name (to profile one); \"\" is all")
	before = flag.String("before", "", "another tapwatch, built before a change, to be measured beside this one")
	window = flag.Duration("window", 400*time.Millisecond, "how long a contender is measured in a round")
)

func TestMain(m *testing.M) {
	if len(os.Args) > 2 {
		if role, ok := roles[os.Args[1]]; ok {
			if err := role(os.Args[2:]); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			return
		}
	}
	code := m.Run()
	printTables()
	os.Exit(code)
}

// roles are the parts that this binary plays in processes of their own.
var roles = map[string]func([]string) error{"serve": serve, "copy": copyProxy, "least": leastProxy, "flood": flood}
