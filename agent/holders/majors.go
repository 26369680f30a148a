package holders

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// tapMajors reads which numbers the kernel gave to the character devices of macvtap
// and ipvtap; 0: it has none. A queue of such a device is opened as /dev/tapN.
func tapMajors() (majors [2]uint32, err error) {
	b, err := os.ReadFile("/proc/devices")
	if err != nil {
		return majors, fmt.Errorf("read the numbers of devices: %w", err)
	}
	return parseMajors(string(b)), nil
}

// parseMajors reads /proc/devices: lines of number and name, those of block devices
// after a line that says so.
func parseMajors(devices string) (majors [2]uint32) {
	devices, _, _ = strings.Cut(devices, "Block devices:")
	for line := range strings.Lines(devices) {
		number, name, ok := strings.Cut(strings.TrimSpace(line), " ")
		n, err := strconv.ParseUint(number, 10, 12)
		switch {
		case !ok || err != nil:
		case name == "macvtap":
			majors[0] = uint32(n)
		case name == "ipvtap":
			majors[1] = uint32(n)
		}
	}
	return majors
}
