package httpapi

import (
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"path"
	"strings"
	"testing"
)

// TestPage: all that the page loads is here, and its policy lets it load nothing else.
func TestPage(t *testing.T) {
	f := serve(t, broken())
	code, body, header := f.get(t, "/", "")
	if code != 200 || !strings.HasPrefix(header.Get("Content-Type"), "text/html") || header.Get("Content-Security-Policy") != policy {
		t.Fatalf("status %d, header %v", code, header)
	}
	for _, want := range []string{"ui/app.js", "ui/style.css", "<noscript>"} {
		if !strings.Contains(body, want) {
			t.Errorf("the page has no %q", want)
		}
	}
	for at, kind := range map[string]string{"app.js": "text/javascript", "style.css": "text/css", "vendor/htm-preact.js": "text/javascript"} {
		if code, _, header := f.get(t, "/ui/"+at, ""); code != 200 || !strings.HasPrefix(header.Get("Content-Type"), kind) {
			t.Errorf("%s: status %d, %s", at, code, header.Get("Content-Type"))
		}
	}
}

// TestPageIsSmall: what a browser loads must come through a bad line in no time.
func TestPageIsSmall(t *testing.T) {
	const most = 300_000
	sum := 0
	err := fs.WalkDir(ui, "ui", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := fs.ReadFile(ui, name)
		sum += len(b)
		return err
	})
	if err != nil || sum > most {
		t.Errorf("the page has %d bytes, the most is %d; %v", sum, most, err)
	}
}

// TestVendored: what others wrote is here as they published it, and is listed.
func TestVendored(t *testing.T) {
	list, err := fs.ReadFile(ui, "ui/vendor/VENDORED")
	if err != nil {
		t.Fatal(err)
	}
	sums := map[string]string{}
	for line := range strings.Lines(string(list)) {
		if sum, name, ok := strings.Cut(strings.TrimSpace(line), "  "); ok && !strings.HasPrefix(line, "#") {
			sums[name] = sum
		}
	}
	names, err := fs.Glob(ui, "ui/vendor/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if path.Base(name) == "VENDORED" {
			continue
		}
		b, err := fs.ReadFile(ui, name)
		if err != nil {
			t.Fatal(err)
		}
		if sum := sha256.Sum256(b); hex.EncodeToString(sum[:]) != sums[path.Base(name)] {
			t.Errorf("%s has the sum %x, not %s", name, sum, sums[path.Base(name)])
		}
		delete(sums, path.Base(name))
	}
	for name := range sums {
		t.Errorf("%s is listed and not there", name)
	}
}
