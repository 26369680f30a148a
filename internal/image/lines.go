package image

import (
	"fmt"
	"slices"
	"strings"
)

// maxLines bounds a comparison line by line: its time grows with the square.
const maxLines = 2000

// compareLines returns the lines of both texts, each with "- " if it is in the
// first only, "+ " if in the second only, and "  " if in both.
func compareLines(ta, tb string) ([]string, error) {
	a, b := split(ta), split(tb)
	if len(a) > maxLines || len(b) > maxLines {
		return []string{}, fmt.Errorf("more than %d lines", maxLines)
	}
	// common[i][j] is the length of the longest common part of a[i:] and b[j:].
	common := make([][]int, len(a)+1)
	for i := range common {
		common[i] = make([]int, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				common[i][j] = common[i+1][j+1] + 1
			} else {
				common[i][j] = max(common[i+1][j], common[i][j+1])
			}
		}
	}
	out := make([]string, 0, len(a)+len(b))
	i, j := 0, 0
	for i < len(a) && j < len(b) {
		switch {
		case a[i] == b[j]:
			out = append(out, "  "+a[i])
			i, j = i+1, j+1
		case common[i+1][j] >= common[i][j+1]:
			out, i = append(out, "- "+a[i]), i+1
		default:
			out, j = append(out, "+ "+b[j]), j+1
		}
	}
	for ; i < len(a); i++ {
		out = append(out, "- "+a[i])
	}
	for ; j < len(b); j++ {
		out = append(out, "+ "+b[j])
	}
	return out, nil
}

func split(text string) []string {
	lines := strings.Split(strings.ToValidUTF8(strings.TrimSuffix(text, "\n"), "?"), "\n")
	return slices.Clip(lines)
}
