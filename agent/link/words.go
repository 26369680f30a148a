package link

import "bytes"

// text reads a string that ends at its first zero byte. Words that most
// namespaces repeat are shared, so that ten thousand slots keep them once.
func text(v []byte) string {
	if i := bytes.IndexByte(v, 0); i >= 0 {
		v = v[:i]
	}
	switch string(v) { // the compiler makes no string here
	case "tun":
		return "tun"
	case "veth":
		return "veth"
	case "bridge":
		return "bridge"
	case "macvtap":
		return "macvtap"
	case "ifb":
		return "ifb"
	case "lo":
		return "lo"
	case "tap0":
		return "tap0"
	case "eth0":
		return "eth0"
	}
	return string(v)
}
