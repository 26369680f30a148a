package clean

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestText(t *testing.T) {
	for name, c := range map[string]struct{ in, want string }{
		"empty":                  {"", ""},
		"a path":                 {"/run/fc-i1a2b3-r1.sock", "/run/fc-i1a2b3-r1.sock"},
		"words":                  {`a "b" \ c`, `a "b" \ c`},
		"other letters":          {"Zürich 東京 ☃", "Zürich 東京 ☃"},
		"accents of their own":   {"e\u0301", "e\u0301"},
		"ESC":                    {"\x1b[31mred\x1b[0m", `\x1b[31mred\x1b[0m`},
		"line ends":              {"a\r\nb\tc", `a\r\nb\tc`},
		"C0":                     {"\x00\x07\x08", `\x00\a\b`},
		"DEL":                    {"a\x7fb", `a\x7fb`},
		"C1":                     {"\u0085\u009b31m", `\u0085\u009b31m`},
		"C1 as a byte":           {"\x9b31m", `\x9b31m`},
		"Arabic letter mark":     {"\u061c", `\u061c`},
		"direction marks":        {"\u200e\u200f", `\u200e\u200f`},
		"embeddings":             {"\u202a\u202b\u202c\u202d\u202e", `\u202a\u202b\u202c\u202d\u202e`},
		"isolates":               {"\u2066\u2067\u2068\u2069", `\u2066\u2067\u2068\u2069`},
		"zero widths":            {"a\u200bb\u200cc\u200dd\u2060e\ufefff", `a\u200bb\u200cc\u200dd\u2060e\ufefff`},
		"line separators":        {"\u2028\u2029", `\u2028\u2029`},
		"odd spaces":             {"a\u00a0b\u3000c", `a\u00a0b\u3000c`},
		"a soft hyphen":          {"a\u00adb", `a\u00adb`},
		"fillers without shape":  {"\u115f\u3164\uffa0\u034f\u2800", `\u115f\u3164\uffa0\u034f\u2800`},
		"variation selectors":    {"a\ufe0f\U000e0100", `a\ufe0f\U000e0100`},
		"tags":                   {"\U000e0041", `\U000e0041`},
		"not UTF-8":              {"a\xff\xc3(", `a\xff\xc3(`},
		"the replacement itself": {"\ufffd", "\ufffd"},
		"a surrogate":            {"\xed\xa0\x80", `\xed\xa0\x80`},
	} {
		if got := Text(c.in); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestBounds(t *testing.T) {
	for name, c := range map[string]struct{ in, want string }{
		"just fits":           {strings.Repeat("a", MaxLabel), strings.Repeat("a", MaxLabel)},
		"one too many":        {strings.Repeat("a", MaxLabel+1), strings.Repeat("a", MaxLabel-1) + "…"},
		"wide ones fit":       {strings.Repeat("東", MaxLabel), strings.Repeat("東", MaxLabel)},
		"wide ones do not":    {strings.Repeat("東", MaxLabel+1), strings.Repeat("東", MaxLabel-1) + "…"},
		"no escape is halved": {strings.Repeat("a", MaxLabel-2) + "\x1b", strings.Repeat("a", MaxLabel-2) + "…"},
		"an escape that fits": {strings.Repeat("a", MaxLabel-4) + "\x1b", strings.Repeat("a", MaxLabel-4) + `\x1b`},
		"a much too long one": {strings.Repeat("\n", 1<<20), strings.Repeat(`\n`, MaxLabel/2-1) + "…"},
	} {
		if got := Label(c.in); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestPlainDoesNotAllocate(t *testing.T) {
	s := strings.Repeat("/run/firecracker.socket ", 5)
	if n := testing.AllocsPerRun(100, func() { Text(s); Label(s) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// safe says what every consumer relies on, whatever the input.
func safe(s string, most int) bool {
	if !utf8.ValidString(s) || utf8.RuneCountInString(s) > most {
		return false
	}
	for _, r := range s {
		switch {
		case r < ' ', r >= 0x7f && r <= 0x9f, r == 0x61c, r >= 0x200b && r <= 0x200f, r >= 0x2028 && r <= 0x202e,
			r >= 0x2060 && r <= 0x206f, r == 0xfeff, r >= 0xfe00 && r <= 0xfe0f, r >= 0xe0000 && r <= 0xe0fff:
			return false
		}
	}
	return true
}

func FuzzText(f *testing.F) {
	for _, s := range []string{"", "a", "\x1b[2J", "\u202efc", "\xff\xfe", strings.Repeat("\u200b", 300), "a\nb"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for most, clean := range map[int]func(string) string{MaxText: Text, MaxLabel: Label} {
			got := clean(s)
			if !safe(got, most) {
				t.Errorf("%q became %q", s, got)
			}
			if again := clean(got); again != got {
				t.Errorf("cleaning twice: %q, then %q", got, again)
			}
		}
	})
}
