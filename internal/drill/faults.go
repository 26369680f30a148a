package drill

import "slices"

// Faults is every fault that can be drilled, in the order of docs/checks/README.md.
func Faults() []Fault {
	return slices.Concat(vmmFaults, tapFaults, dropFaults, guestFaults, envdFaults, relayFaults, ruleFaults, routeFaults, proxyFaults, foreignFaults, astrayFaults)
}
