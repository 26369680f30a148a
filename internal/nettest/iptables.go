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
	const program = "/usr/sbin/iptables-legacy"
	if _, err := os.Stat(program); err != nil {
		Unfit(t, "no iptables-legacy")
	}
	In(t, ns, func() error {
		cmd := exec.CommandContext(t.Context(), program, args...)
		cmd.Env = append(os.Environ(), "XTABLES_LOCKFILE="+t.TempDir()+"/lock")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("iptables-legacy %v: %w: %s", args, err, out)
		}
		return nil
	})
}

// IptablesNFT runs iptables over nftables in a namespace.
func IptablesNFT(t testing.TB, ns string, args ...string) {
	t.Helper()
	const program = "/usr/sbin/iptables-nft"
	if _, err := os.Stat(program); err != nil {
		Unfit(t, "no iptables-nft")
	}
	In(t, ns, func() error {
		if out, err := exec.CommandContext(t.Context(), program, args...).CombinedOutput(); err != nil {
			return fmt.Errorf("iptables-nft %v: %w: %s", args, err, out)
		}
		return nil
	})
}
