package sandbox

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/hex"
	"strings"
)

// newID returns an id in E2B's form: an i and 19 lower-case letters and digits.
func newID() string {
	b := make([]byte, 12) // 96 bits: 20 characters, one too many
	_, _ = rand.Read(b)   // never fails
	return "i" + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b))[:19]
}

// isID says whether newID could have made it.
func isID(s string) bool {
	return len(s) == 20 && s[0] == 'i' && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz234567") == ""
}

func newToken() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}
