package inspect

import (
	"regexp"
	"slices"
	"strings"

	"tapwatch/agent/path"
	"tapwatch/internal/clean"
)

// consolePatterns are lines of Linux (net/ipv4/ipconfig.c, init/main.c, kernel/panic.c), of mount, and of
// our guest's init. What is wrong with a template is read from its files.
var consolePatterns = []struct {
	code string
	line *regexp.Regexp
}{
	{"guest-no-driver", regexp.MustCompile(`no network interface \S+: is the NIC driver there|IP-Config: No network devices available|IP-Config: Device .* not found`)},
	{"guest-no-init", regexp.MustCompile(`No working init found|Requested init \S+ failed|exists but couldn't execute it`)},
	{"guest-no-cgroup2", regexp.MustCompile(`(?i)mount\S* .*cgroup.*(fail|unknown filesystem|denied|not permitted|no such|invalid|does not exist)|(can't|cannot|failed to) (mount|create)\b.*cgroup`)},
	{"guest-panic", regexp.MustCompile(`Kernel panic - not syncing`)},
}

// maxLine bounds what of a guest's words is passed on.
const maxLine = 160

// consoleFaults returns the last line of each kind: a program may have written such a line
// before the kernel did. It is the guest that writes: whatever is not plain text is left
// out.
func consoleFaults(text []byte) (found []path.ConsoleFault) {
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, endOfPanic) {
			continue
		}
		for _, p := range consolePatterns {
			if !p.line.MatchString(line) {
				continue
			}
			i := slices.IndexFunc(found, func(f path.ConsoleFault) bool { return f.Code == p.code })
			if i < 0 {
				i = len(found)
				found = append(found, path.ConsoleFault{Code: p.code})
			}
			found[i].Line = plain(line)
		}
	}
	return found
}

// endOfPanic begins the line with which Linux repeats what it panicked of.
const endOfPanic = "---[ end Kernel panic"

func plain(line string) string {
	line = clean.Text(strings.Join(strings.FieldsFunc(strings.ToValidUTF8(line, ""), func(r rune) bool { return r <= ' ' || r == 0x7f }), " "))
	if len(line) > maxLine {
		line = strings.ToValidUTF8(line[:maxLine], "") + "..."
	}
	return line
}
