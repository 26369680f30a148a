package template

import (
	"bytes"
	"errors"
	"os"
	"strconv"
	"testing"
)

// readCpio is the reader's side of the format, strict about alignment.
func readCpio(t *testing.T, b []byte) map[string]string {
	t.Helper()
	files := map[string]string{}
	for at := 0; ; {
		if at+110 > len(b) || string(b[at:at+6]) != cpioMagic {
			t.Fatalf("no header at %d", at)
		}
		field := func(i int) int {
			n, err := strconv.ParseUint(string(b[at+6+8*i:at+14+8*i]), 16, 32)
			if err != nil {
				t.Fatal(err)
			}
			return int(n)
		}
		mode, size, nameSize := field(1), field(6), field(11)
		name := string(b[at+110 : at+110+nameSize-1])
		if name == cpioTrailer {
			return files
		}
		at = (at + 110 + nameSize + 3) &^ 3
		files[name] = strconv.FormatInt(int64(mode), 8) + " " + string(b[at:at+size])
		at = (at + size + 3) &^ 3
	}
}

func TestCpio(t *testing.T) {
	var out bytes.Buffer
	c := cpioWriter{w: &out}
	c.add("bin", os.ModeDir|0o755, nil)
	c.addChar("dev/console", 0o600, 5, 1)
	for _, body := range []string{"", "a", "ab", "abc", "abcd"} { // every alignment
		c.add("f"+body, 0o644, []byte(body))
	}
	c.add("init", 0o755, []byte("#!/bin/busybox sh\n"))
	if err := c.close(); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"bin": "40755 ", "dev/console": "20600 ", "f": "100644 ", "fa": "100644 a", "fab": "100644 ab",
		"fabc": "100644 abc", "fabcd": "100644 abcd", "init": "100755 #!/bin/busybox sh\n",
	}
	got := readCpio(t, out.Bytes())
	for name, content := range want {
		if got[name] != content {
			t.Errorf("%s: %q, want %q", name, got[name], content)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d files, want %d", len(got), len(want))
	}
}

type fullDisk struct{}

var errFull = errors.New("no space left")

func (fullDisk) Write([]byte) (int, error) { return 0, errFull }

func TestCpioKeepsTheFirstError(t *testing.T) {
	c := cpioWriter{w: fullDisk{}}
	c.add("a", 0o644, []byte("a"))
	if err := c.close(); !errors.Is(err, errFull) {
		t.Errorf("error %v, want %v", err, errFull)
	}
}
