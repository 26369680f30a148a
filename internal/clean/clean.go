// Package clean makes strings of strangers safe to show: names, command lines
// and paths that any process may choose go to terminals, logs, labels and events.
package clean

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The longest results, in runes.
const (
	MaxText  = 512 // of Text
	MaxLabel = 128 // of Label
)

const ellipsis = "…"

// Text returns s for a terminal, a log or an event, as at most MaxText runes of
// valid UTF-8. Controls, line ends, marks that turn the direction of writing,
// characters without width and bytes that are not UTF-8 are replaced by what Go's
// %q writes for them: \x1b, \n, \u202e, \xff. What is too long ends in an
// ellipsis. Backslashes and quotes stay as they are, so that cleaning twice is
// cleaning once. It does not allocate for plain ASCII.
func Text(s string) string { return bounded(s, MaxText) }

// Label returns s for the value of a metric's label or for an identity, as at
// most MaxLabel runes, and is like Text otherwise.
func Label(s string) string { return bounded(s, MaxLabel) }

func bounded(s string, most int) string {
	if plain(s, most) {
		return s
	}
	var out strings.Builder
	used := 0 // runes in out
	fits := 0 // bytes of out that leave room for the ellipsis
	var b [12]byte
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		shown, width := s[:size], 1
		if hidden(r, size) {
			shown = string(escape(b[:0], s[:size], r))
			width = len(shown) // ASCII
		}
		s = s[size:]
		if used+width > most {
			return out.String()[:fits] + ellipsis
		}
		out.WriteString(shown)
		used += width
		if used < most {
			fits = out.Len()
		}
	}
	return out.String()
}

// plain reports whether s is printable ASCII of at most most characters.
func plain(s string, most int) bool {
	if len(s) > most {
		return false
	}
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// hidden reports whether a rune is not to be shown as it is. strconv.IsPrint
// leaves out controls, formats (bidi marks, zero widths) and odd spaces; letters
// and marks that have no shape are named here.
func hidden(r rune, size int) bool {
	const brailleBlank = 0x2800
	return r == utf8.RuneError && size == 1 || !strconv.IsPrint(r) || r == brailleBlank ||
		r >= utf8.RuneSelf && unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

// escape appends what stands for one rune, which was read from raw.
func escape(b []byte, raw string, r rune) []byte {
	if r == utf8.RuneError && len(raw) == 1 {
		const hex = "0123456789abcdef"
		return append(b, '\\', 'x', hex[raw[0]>>4], hex[raw[0]&15])
	}
	if strconv.IsPrint(r) { // without shape: %q shows it, %+q does not
		q := strconv.AppendQuoteRuneToASCII(b, r)
		return q[1 : len(q)-1]
	}
	q := strconv.AppendQuoteRune(b, r)
	return q[1 : len(q)-1]
}
