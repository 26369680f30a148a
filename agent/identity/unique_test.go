package identity

import (
	"cmp"
	"maps"
	"strings"
	"testing"
	"unicode/utf8"

	"tapwatch/internal/clean"
)

type tap struct{ cookie, ifindex int }

func byPlace(a, b tap) int {
	return cmp.Or(cmp.Compare(a.cookie, b.cookie), cmp.Compare(a.ifindex, b.ifindex))
}

func TestDisambiguate(t *testing.T) {
	long := strings.Repeat("東", clean.MaxLabel)
	for name, c := range map[string]struct{ in, want map[tap]string }{
		"none":         {nil, map[tap]string{}},
		"all differ":   {map[tap]string{{1, 2}: "a", {2, 2}: "b"}, map[tap]string{{1, 2}: "a", {2, 2}: "b"}},
		"unidentified": {map[tap]string{{1, 2}: "", {2, 2}: ""}, map[tap]string{}},
		"by cookie":    {map[tap]string{{9, 2}: "a", {3, 7}: "a", {5, 2}: "a"}, map[tap]string{{3, 7}: "a", {5, 2}: "a~2", {9, 2}: "a~3"}},
		"by ifindex":   {map[tap]string{{3, 12}: "a", {3, 7}: "a"}, map[tap]string{{3, 7}: "a", {3, 12}: "a~2"}},
		"one is called so": {map[tap]string{{1, 1}: "a", {2, 1}: "a", {3, 1}: "a~2", {4, 1}: "a"},
			map[tap]string{{1, 1}: "a", {2, 1}: "a~3", {3, 1}: "a~2", {4, 1}: "a~4"}},
		"two are called so": {map[tap]string{{1, 1}: "a~2", {2, 1}: "a~2", {3, 1}: "a", {4, 1}: "a"},
			map[tap]string{{1, 1}: "a~2", {2, 1}: "a~2~2", {3, 1}: "a", {4, 1}: "a~3"}},
		"long ones": {map[tap]string{{1, 1}: long, {2, 1}: long}, map[tap]string{{1, 1}: long, {2, 1}: strings.Repeat("東", clean.MaxLabel-2) + "~2"}},
	} {
		for range 10 { // whatever the order of the map
			if got := Disambiguate(c.in, byPlace); !maps.Equal(got, c.want) {
				t.Errorf("%s: %v, want %v", name, got, c.want)
			}
		}
	}
}

func FuzzDisambiguate(f *testing.F) {
	f.Add("a a a~2 b")
	f.Add("a~2 a~2 a a a~2~2")
	f.Fuzz(func(t *testing.T, s string) {
		in := map[tap]string{}
		for i, id := range strings.Fields(s) {
			in[tap{i % 3, i}] = clean.Label(id)
		}
		seen := map[string]bool{}
		for _, id := range Disambiguate(in, byPlace) {
			if seen[id] || id == "" || utf8.RuneCountInString(id) > clean.MaxLabel {
				t.Errorf("%v: %q", in, id)
			}
			seen[id] = true
		}
		if len(seen) != len(in) {
			t.Errorf("%d of %d", len(seen), len(in))
		}
	})
}
