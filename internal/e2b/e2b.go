// Package e2b holds what E2B has made of names, ports, headers and addresses, so
// that its slots and its clients are known by them. Values only.
package e2b

import (
	"net/netip"
	"strconv"
	"strings"
)

// TCP ports. The first two are the guest's.
const (
	EnvdPort              = 49983
	CodeInterpreterPort   = 49999
	APIPort               = 3000
	ClientProxyPort       = 3002 // before the orchestrators, for clients
	OrchestratorProxyPort = 5007 // the proxy of one orchestrator
)

// Headers of HTTP.
const (
	HeaderSandboxID   = "E2b-Sandbox-Id"   // which sandbox a request is for
	HeaderSandboxPort = "E2b-Sandbox-Port" // and which port in it; none: EnvdPort
	HeaderAccessToken = "X-Access-Token"   // envd's
	HeaderAPIKey      = "X-API-KEY"        // the control API's
)

// What is the same in every slot.
const (
	Tap       = "tap0"              // the device that the VMM attaches to
	TapMAC    = "02:FC:00:00:00:06" // of its host side
	GuestMAC  = "02:FC:00:00:00:05" // of the guest's eth0
	Vpeer     = "eth0"              // the namespace's end of the veth pair
	TapAddr   = "169.254.0.22"      // of the tap's host side, a /30 with GuestAddr
	GuestAddr = "169.254.0.21"
)

// TapIP is TapAddr.
func TapIP() netip.Addr { return netip.AddrFrom4([4]byte{169, 254, 0, 22}) }

// GuestIP is GuestAddr.
func GuestIP() netip.Addr { return netip.AddrFrom4([4]byte{169, 254, 0, 21}) }

const netnsPrefix = "ns-"

// NamespaceName is what the namespace of slot i is called under /run/netns.
func NamespaceName(i int) string { return netnsPrefix + strconv.Itoa(i) }

// HostVeth is what the host's end of the veth pair of slot i is called.
func HostVeth(i int) string { return "veth-" + strconv.Itoa(i) }

// Index reads the slot's number from its namespace's name. It makes no garbage: it
// is asked of every name at every merge.
func Index(name string) (i int, ok bool) {
	digits, ok := strings.CutPrefix(name, netnsPrefix)
	if !ok || len(digits) < 1 || len(digits) > 9 || digits[0] == '0' {
		return 0, false
	}
	for _, c := range []byte(digits) {
		if c < '0' || c > '9' {
			return 0, false
		}
		i = 10*i + int(c-'0')
	}
	return i, true
}
