package inspect

import (
	"os"
	"regexp"
	"strconv"
	"strings"

	"tapwatch/agent/path"
	"tapwatch/internal/proc"
)

// ProcessOf reads what a path wants to know of a process that listens. What may not
// be read of it is unknown; an error is that there is none.
func ProcessOf(pid int) (p path.Process, err error) {
	s, err := proc.StatOf(pid)
	if err != nil {
		return path.Process{}, err
	}
	dir := "/proc/" + strconv.Itoa(pid)
	p = path.Process{PID: pid, Command: plain(s.Command), Stopped: path.Known(s.State.Stopped())}
	p.MaxFiles = maxFiles(dir)
	p.Files = files(dir)
	return p, nil
}

// argumentMAC is how QEMU and Cloud Hypervisor are told a NIC's hardware address.
var argumentMAC = regexp.MustCompile(`\bmac=((?:[0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2})\b`)

// MACsOf returns the hardware addresses that a VMM's command line names for its NICs.
func MACsOf(pid int) ([]string, error) {
	line, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	if err != nil {
		return nil, err
	}
	var macs []string
	for _, m := range argumentMAC.FindAllSubmatch(line, -1) {
		macs = append(macs, strings.ToLower(string(m[1])))
	}
	return macs, nil
}

// maxFiles reads the soft limit of /proc/pid/limits, 0 where it is unknown or none.
func maxFiles(dir string) uint64 {
	b, err := os.ReadFile(dir + "/limits")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "Max open files"); ok {
			soft, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
			n, _ := strconv.ParseUint(soft, 10, 64) // "unlimited" is none
			return n
		}
	}
	return 0
}

// files counts the open files, 0 where that is unknown. Since Linux 6.2 the
// directory's size tells; before, and where it is empty, it is listed.
func files(dir string) uint64 {
	info, err := os.Stat(dir + "/fd")
	if err != nil {
		return 0
	}
	if n := info.Size(); n > 0 {
		return uint64(n)
	}
	names, err := os.ReadDir(dir + "/fd")
	if err != nil {
		return 0
	}
	return uint64(len(names))
}
