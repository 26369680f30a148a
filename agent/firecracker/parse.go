package firecracker

import (
	"encoding/json"
	"fmt"
	"net"
	"slices"

	"tapwatch/agent/path"
)

// What follows reads src/firecracker/swagger/firecracker.yaml of v1.0 to v1.14.
// A field more is no fault, one of another kind is.

// parseInstance reads the state out of InstanceInfo.
func parseInstance(b []byte) (state string, err error) {
	var info struct {
		State *string `json:"state"`
	}
	if err := json.Unmarshal(b, &info); err != nil {
		return "", notAsKnown(err)
	}
	if info.State == nil || !slices.Contains([]string{path.VMMRunning, path.VMMPaused, path.VMMNotStarted}, *info.State) {
		return "", fmt.Errorf("not the answer of a Firecracker: no state that is known")
	}
	return *info.State, nil
}

// maxInterfaces is above what a Firecracker can have.
const maxInterfaces = 64

// parseConfig reads the network interfaces out of FullVmConfiguration. None is an
// empty list.
func parseConfig(b []byte) ([]path.VMMInterface, error) {
	var config struct {
		Machine    json.RawMessage `json:"machine-config"` // always there
		Interfaces []struct {
			ID     string  `json:"iface_id"`
			Device string  `json:"host_dev_name"`
			MAC    *string `json:"guest_mac"` // null: the guest's driver takes one of its own
		} `json:"network-interfaces"`
	}
	if err := json.Unmarshal(b, &config); err != nil {
		return nil, notAsKnown(err)
	}
	if config.Machine == nil || len(config.Interfaces) > maxInterfaces {
		return nil, fmt.Errorf("not the configuration of a Firecracker")
	}
	list := []path.VMMInterface{}
	for _, in := range config.Interfaces {
		i := path.VMMInterface{ID: in.ID, Device: in.Device}
		if !plain(i.ID, 64) || !plain(i.Device, 15) { // IFNAMSIZ, less its zero
			return nil, fmt.Errorf("not the configuration of a Firecracker: an interface without a name")
		}
		if in.MAC != nil {
			mac, err := net.ParseMAC(*in.MAC)
			if err != nil || len(mac) != 6 {
				return nil, fmt.Errorf("not the configuration of a Firecracker: a guest_mac that is none")
			}
			i.GuestMAC = mac.String()
		}
		list = append(list, i)
	}
	return list, nil
}

// plain says whether a name is one that may stand in a line for people.
func plain(name string, most int) bool {
	if name == "" || len(name) > most {
		return false
	}
	return !slices.ContainsFunc([]byte(name), func(c byte) bool { return c <= ' ' || c >= 0x7f })
}

// notAsKnown hides what was sent: it is a stranger's.
func notAsKnown(error) error { return fmt.Errorf("not the answer of a Firecracker") }
