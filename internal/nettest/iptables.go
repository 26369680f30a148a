package nettest

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// IptablesLegacy runs iptables-legacy in a namespace with those arguments.
func IptablesLegacy(t testing.TB, ns string, args ...string) {
	t.Helper()
	iptables(t, ns, "iptables-legacy", args)
}

// IptablesNFT runs iptables over nftables in a namespace.
func IptablesNFT(t testing.TB, ns string, args ...string) {
	t.Helper()
	iptables(t, ns, "iptables-nft", args)
}

func iptables(t testing.TB, ns, name string, args []string) {
	t.Helper()
	program := "/usr/sbin/" + name
	if _, err := os.Stat(program); err != nil {
		Unfit(t, "no "+name)
	}
	In(t, ns, func() error {
		cmd := exec.CommandContext(t.Context(), program, args...)
		cmd.Env = append(os.Environ(), "XTABLES_LOCKFILE="+t.TempDir()+"/lock") // legacy's, which is one for the host
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s %v: %w: %s", name, args, err, out)
		}
		return nil
	})
}
