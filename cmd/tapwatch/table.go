package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"

	"charm.land/lipgloss/v2"

	"tapwatch/agent/draw"
	"tapwatch/internal/clean"
)

// table is what lists print. Its first row is the head. Cells may hold what strangers
// chose: they are cleaned.
type table struct{ rows [][]string }

func (t *table) row(cells ...any) {
	row := make([]string, len(cells))
	for i, c := range cells {
		row[i] = clean.Text(fmt.Sprint(c))
	}
	t.rows = append(t.rows, row)
}

const columnGap = 2

// print writes the table within the screen: cells are folded between words, and where
// words are too wide each row becomes a few lines of its own.
func (t *table) print(w io.Writer, on draw.Screen) error {
	widths, least := t.widths()
	if on.Width > 0 {
		for total(widths) > on.Width {
			widest := -1
			for i := range widths {
				if widths[i] > least[i] && (widest < 0 || widths[i] > widths[widest]) {
					widest = i
				}
			}
			if widest < 0 {
				return t.records(w, on)
			}
			widths[widest]--
		}
	}
	for _, row := range t.rows {
		if err := printRow(w, row, widths); err != nil {
			return err
		}
	}
	return nil
}

// widths are those of the columns: as wide as their cells, and as their longest words.
func (t *table) widths() (whole, least []int) {
	whole, least = make([]int, len(t.rows[0])), make([]int, len(t.rows[0]))
	for _, row := range t.rows {
		for i, cell := range row {
			whole[i] = max(whole[i], lipgloss.Width(cell))
			for _, word := range strings.Fields(cell) {
				least[i] = max(least[i], lipgloss.Width(word))
			}
		}
	}
	return whole, least
}

func total(widths []int) int {
	sum := -columnGap
	for _, n := range widths {
		sum += n + columnGap
	}
	return sum
}

func printRow(w io.Writer, row []string, widths []int) error {
	cells, height := make([][]string, len(row)), 1
	for i, cell := range row {
		if lipgloss.Width(cell) > widths[i] {
			cell = foldWords(cell, widths[i])
		}
		cells[i] = strings.Split(cell, "\n")
		height = max(height, len(cells[i]))
	}
	for n := range height {
		var line strings.Builder
		for i, cell := range cells {
			text := ""
			if n < len(cell) {
				text = cell[n]
			}
			line.WriteString(text + strings.Repeat(" ", columnGap+widths[i]-lipgloss.Width(text)))
		}
		if _, err := fmt.Fprintln(w, strings.TrimRight(line.String(), " ")); err != nil {
			return err
		}
	}
	return nil
}

// records writes each row as lines of a name and a value.
func (t *table) records(w io.Writer, on draw.Screen) error {
	names := 0
	for _, name := range t.rows[0] {
		names = max(names, len(name))
	}
	for n, row := range t.rows[1:] {
		if n > 0 {
			fmt.Fprintln(w)
		}
		for i, cell := range row {
			head := fmt.Sprintf("%-*s  ", names, t.rows[0][i])
			if _, err := fmt.Fprintln(w, head+on.Fold(cmp.Or(cell, "-"), len(head))); err != nil {
				return err
			}
		}
	}
	return nil
}

// foldWords breaks a text between words.
func foldWords(text string, width int) string {
	var b strings.Builder
	at := 0
	for i, word := range strings.Fields(text) {
		n := lipgloss.Width(word)
		switch {
		case i == 0:
		case at+1+n > width:
			b.WriteByte('\n')
			at = 0
		default:
			b.WriteByte(' ')
			at++
		}
		b.WriteString(word)
		at += n
	}
	return b.String()
}
