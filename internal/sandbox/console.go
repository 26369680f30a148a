package sandbox

import (
	"io"
	"os"
	"strings"
	"unicode"
)

const (
	consoleTail = 4 << 10 // bytes looked at
	consoleLine = 160     // bytes kept of one line
)

// lastLines returns the last n lines of a console log that say something,
// joined to one; "" where there is none to read. A guest may write anything:
// what a terminal would act on is left out.
func lastLines(file string, n int) string {
	f, err := os.Open(file)
	if err != nil {
		return ""
	}
	defer f.Close()
	if size, err := f.Seek(0, io.SeekEnd); err == nil {
		_, err = f.Seek(max(0, size-consoleTail), io.SeekStart)
		if err != nil {
			return ""
		}
	}
	tail, err := io.ReadAll(io.LimitReader(f, consoleTail))
	if err != nil {
		return ""
	}
	var lines []string
	for line := range strings.Lines(string(tail)) {
		line = strings.TrimSpace(strings.Map(printable, line))
		if line != "" {
			lines = append(lines, line[:min(len(line), consoleLine)])
		}
	}
	return strings.Join(lines[max(0, len(lines)-n):], " | ")
}

func printable(r rune) rune {
	if unicode.IsPrint(r) {
		return r
	}
	return -1
}
