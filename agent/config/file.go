package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"

	"go.yaml.in/yaml/v3"
)

// maxFile is the length of the longest file that is read, in bytes.
const maxFile = 1 << 20

// document is one file, decoded as far as it can be without the set of flags.
type document struct {
	name     string
	modified time.Time
	root     *yaml.Node // a mapping; nil where the file says nothing
	sections sections
	// typed is what is wrong with the types and keys of the sections. The flags are
	// there nevertheless.
	typed error
}

// readFile reads and decodes a file. It refuses a file that everybody may write,
// since whoever writes it decides what the agent reports.
func readFile(name string) (*document, error) {
	// Without O_NONBLOCK a FIFO would block the open.
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, Problem{File: name, Text: "there is no such file"}
	}
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	switch {
	case !info.Mode().IsRegular():
		return nil, Problem{File: name, Text: "must be a regular file"}
	case info.Mode().Perm()&0o002 != 0:
		return nil, Problem{File: name, Text: fmt.Sprintf("everybody may write it (mode %04o): run chmod o-w", info.Mode().Perm())}
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	if len(text) > maxFile {
		return nil, Problem{File: name, Text: fmt.Sprintf("longer than %d bytes", maxFile)}
	}
	d := &document{name: name, modified: info.ModTime()}
	return d, d.decode(text)
}

func (d *document) decode(text []byte) error {
	var all yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(text))
	err := dec.Decode(&all)
	if errors.Is(err, io.EOF) { // nothing but comments
		return nil
	}
	if err != nil {
		return problems(d.name, err)
	}
	root := all.Content[0]
	if root.Tag == "!!null" {
		return nil
	}
	if root.Kind != yaml.MappingNode {
		return Problem{File: d.name, Line: root.Line, Text: "must be a mapping (key: value)"}
	}
	var more yaml.Node
	if err := dec.Decode(&more); !errors.Is(err, io.EOF) {
		if err != nil {
			return problems(d.name, err)
		}
		return Problem{File: d.name, Line: more.Line, Text: "a second document begins here (---): there may be one"}
	}
	for _, key := range root.Content {
		if key.Tag == "!!merge" {
			return Problem{File: d.name, Line: key.Line, Text: "<< is not taken here: write the keys out"}
		}
	}
	d.root = root
	if err := d.unique(root); err != nil {
		return err // the decoder would say the same once more
	}
	strict := yaml.NewDecoder(bytes.NewReader(text))
	strict.KnownFields(true)
	if err := strict.Decode(&d.sections); err != nil {
		d.typed = problems(d.name, err)
	}
	return nil
}

// unique refuses a key that is there twice, wherever it is: the library looks at
// some mappings only.
func (d *document) unique(n *yaml.Node) error {
	var all []error
	if n.Kind == yaml.MappingNode {
		first := map[string]int{}
		for i := 0; i < len(n.Content); i += 2 {
			key := n.Content[i]
			if at, twice := first[key.Value]; twice && key.Kind == yaml.ScalarNode {
				all = append(all, Problem{File: d.name, Line: key.Line, Text: fmt.Sprintf("the key %q is there twice, first in line %d", key.Value, at)})
				continue
			}
			first[key.Value] = key.Line
		}
	}
	for _, c := range n.Content {
		all = append(all, d.unique(c))
	}
	return errors.Join(all...)
}

// at returns the node below n that keys (string) and places in lists (int) lead
// to, and the line of the last key or item; nil where there is none.
func at(n *yaml.Node, way ...any) (*yaml.Node, int) {
	line := 0
	for _, step := range way {
		if n = follow(n); n == nil {
			return nil, 0
		}
		var next *yaml.Node
		switch step := step.(type) {
		case string:
			for i := 0; n.Kind == yaml.MappingNode && i < len(n.Content); i += 2 {
				if n.Content[i].Value == step {
					next, line = n.Content[i+1], n.Content[i].Line
				}
			}
		case int:
			if n.Kind == yaml.SequenceNode && step < len(n.Content) {
				next, line = n.Content[step], n.Content[step].Line
			}
		}
		n = next
	}
	if n == nil {
		return nil, 0
	}
	return n, line
}

// follow returns what an alias stands for.
func follow(n *yaml.Node) *yaml.Node {
	if n != nil && n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// lineOf returns the line of a key or an item, as near as there is one; 0 where
// the file has none of it.
func (d *document) lineOf(way ...any) int {
	for ; len(way) > 0; way = way[:len(way)-1] {
		if n, line := at(d.root, way...); n != nil {
			return line
		}
	}
	return 0
}
