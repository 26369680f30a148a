package template

import (
	"fmt"
	"strings"
	"testing"
)

func TestParseURIs(t *testing.T) {
	out := `Reading package lists...
The following NEW packages will be installed:
  bash
'http://mirror.example/debian/pool/main/b/busybox/busybox-static_1.35.0-4_amd64.deb' busybox-static_1%3a1.35.0-4_amd64.deb 928188 MD5Sum:f6f1
'http://mirror.example/debian/pool/main/b/bash/bash_5.2.15-2%2bb13_amd64.deb' bash_5.2.15-2+b13_amd64.deb 1490652 SHA256:f9
'http://mirror.example/x' strange_name.deb 1
'http://mirror.example/x' strange_%zz_amd64.deb 1
'half
`
	want := "[bash=5.2.15-2+b13 busybox-static=1:1.35.0-4]"
	if got := fmt.Sprint(parseURIs(out)); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestSplitKernel(t *testing.T) {
	packages := []debPackage{{Name: "kmod"}, {Name: "linux-image-cloud-amd64", Version: "6.1.1-1"}, {Name: "linux-image-6.1.0-1-cloud-amd64", Version: "6.1.1-1"}}
	got, err := splitKernel(packages)
	if err != nil || got != packages[2] {
		t.Errorf("%v, %v, want %v", got, err, packages[2])
	}
	if _, err := splitKernel(packages[:2]); err == nil {
		t.Error("found a kernel in a meta package")
	}
}

func FuzzParseURIs(f *testing.F) {
	f.Add("'u' a_1%3a2_amd64.deb 1\n")
	f.Add("'u' linux-image-_1_amd64.deb 1")
	f.Fuzz(func(t *testing.T, out string) {
		packages := parseURIs(out)
		for _, p := range packages {
			if strings.ContainsAny(p.Name, " \n_") {
				t.Errorf("package name %q", p.Name)
			}
		}
		_, _ = splitKernel(packages) // must not panic
	})
}
