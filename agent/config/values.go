package config

import (
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"os/user"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
)

// Users is a list of users as the value of a flag, each a name or a number. The
// zero value is the empty list.
type Users struct {
	UIDs  []uint32 // in the order in which they were given
	given []string
}

// Set adds users, with commas between them. It implements pflag.Value.
func (u *Users) Set(text string) error {
	return appendAll(u, strings.SplitSeq(text, ","))
}

// Append implements pflag.SliceValue.
func (u *Users) Append(item string) error {
	number := item
	if _, err := strconv.ParseUint(item, 10, 32); err != nil {
		found, err := user.Lookup(item)
		if err != nil {
			return errors.New("no such user: must be a name or a uid")
		}
		number = found.Uid
	}
	uid, err := strconv.ParseUint(number, 10, 32)
	if err != nil {
		return err
	}
	u.UIDs, u.given = append(u.UIDs, uint32(uid)), append(u.given, item)
	return nil
}

// Replace implements pflag.SliceValue.
func (u *Users) Replace(items []string) error {
	*u = Users{}
	return appendAll(u, slices.Values(items))
}

// GetSlice implements pflag.SliceValue: names stay names.
func (u *Users) GetSlice() []string { return u.given }

// String implements pflag.Value.
func (u *Users) String() string { return strings.Join(u.given, ",") }

// Type implements pflag.Value: it is what help shows.
func (u *Users) Type() string { return "USER" }

// appendAll adds items to a list, as far as the first one that it refuses.
func appendAll(list pflag.SliceValue, items iter.Seq[string]) error {
	for item := range items {
		if err := list.Append(item); err != nil {
			return err
		}
	}
	return nil
}

// Check has a flag of fs take only the values that check lets through; its error
// says what a value must be. It panics where fs has no such flag, and is not for
// lists.
func Check(fs *pflag.FlagSet, name string, check func(value string) error) {
	f := fs.Lookup(name)
	if f == nil {
		panic("no flag " + name)
	}
	f.Value = checked{f.Value, check}
}

type checked struct {
	pflag.Value
	check func(string) error
}

// Set implements pflag.Value. What the type refuses is said first.
func (c checked) Set(value string) error {
	old := c.String()
	if err := c.Value.Set(value); err != nil {
		return err
	}
	if err := c.check(value); err != nil {
		return errors.Join(err, c.Value.Set(old)) // the old value was let through before
	}
	return nil
}

// NotNegative lets numbers and durations through that are 0 or more.
func NotNegative(value string) error {
	if strings.HasPrefix(strings.TrimSpace(value), "-") {
		return errors.New("must not be negative")
	}
	return nil
}

// AddrPort lets an address and a port through, and the empty value.
func AddrPort(value string) error {
	if value == "" {
		return nil
	}
	if a, err := netip.ParseAddrPort(value); err != nil || a.Port() == 0 {
		return errors.New("must be an address and port like 127.0.0.1:49983")
	}
	return nil
}

// FileName lets all but the empty name through, which is a variable of a script
// that is not set.
func FileName(value string) error {
	if value == "" {
		return errors.New("must be the name of a file")
	}
	return nil
}

// OneOf has a flag of fs take only some words. Words tells them.
func OneOf(fs *pflag.FlagSet, name string, words ...string) {
	Check(fs, name, func(value string) error {
		if slices.Contains(words, value) {
			return nil
		}
		last := len(words) - 1
		return fmt.Errorf("must be %s or %s", strings.Join(words[:last], ", "), words[last])
	})
	f := fs.Lookup(name)
	if f.Annotations == nil {
		f.Annotations = map[string][]string{}
	}
	f.Annotations[wordsOf] = words
}

const wordsOf = "tapwatch_words"

// Words are those that a flag takes; nil: it takes others too.
func Words(f *pflag.Flag) []string { return f.Annotations[wordsOf] }

// whyNot is why a flag refuses a value, in our words: pflag's own types give
// those of strconv.
func whyNot(f *pflag.Flag, err error) error {
	var number *strconv.NumError
	switch kind := f.Value.Type(); {
	case kind == "duration" && strings.HasPrefix(err.Error(), "time: "):
		return errors.New("must be a duration such as 30s")
	case !errors.As(err, &number):
		return err
	case kind == "bool":
		return errors.New("must be true or false")
	case kind == "uint16":
		return errors.New("must be a whole number from 0 to 65535")
	}
	return errors.New("must be a whole number")
}
