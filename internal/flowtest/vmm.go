package flowtest

import "tapwatch/internal/nettest"

// vmm carries frames between the guest's interface and its slot's tap, which are
// its files 3 and 4.
func vmm([]string) error {
	nettest.Carry(3, 4, -1)
	return nil
}
