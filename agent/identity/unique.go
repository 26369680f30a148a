package identity

import (
	"maps"
	"slices"
	"strconv"

	"tapwatch/internal/clean"
)

// Disambiguate returns the ids with "~2", "~3" ... behind those that another has
// too, so that no two are the same. The first by compare keeps its id; order by
// namespace cookie and ifindex, which a living tap keeps. Empty ids are left out:
// they identify nothing. Ids must be clean.
func Disambiguate[K comparable](ids map[K]string, compare func(a, b K) int) map[K]string {
	out := make(map[K]string, len(ids))
	taken := make(map[string]bool, len(ids))
	for _, id := range ids {
		taken[id] = true
	}
	count := make(map[string]int, len(ids)) // how many of an id have theirs
	for _, k := range slices.SortedFunc(maps.Keys(ids), compare) {
		id := ids[k]
		if id == "" {
			continue
		}
		if count[id]++; count[id] > 1 {
			id = free(id, count, taken)
		}
		taken[id] = true
		out[k] = id
	}
	return out
}

// free returns an id with the lowest number behind it that nobody has.
func free(id string, count map[string]int, taken map[string]bool) string {
	for ; ; count[id]++ {
		suffix := "~" + strconv.Itoa(count[id])
		stem := []rune(id)
		stem = stem[:min(len(stem), clean.MaxLabel-len(suffix))]
		if next := string(stem) + suffix; !taken[next] {
			return next
		}
	}
}
