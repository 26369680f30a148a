package template

import (
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestParseMetadata(t *testing.T) {
	tests := []struct {
		name, in string
		want     Versions
		version  int
		template string
		err      string
	}{
		{
			name: "version 2", version: 2,
			in:   `{"version":2,"template":{"build_id":"b","kernel_version":"vmlinux-6.1.102","firecracker_version":"v1.10.1_1fcdaec"},"context":{"user":"user","workdir":null,"env_vars":{}},"start":{"start_command":"","ready_command":"","context":{"user":"root"}},"from_image":"e2bdev/base:latest","from_template":{"alias":"a","build_id":"p"}}`,
			want: Versions{BuildID: "b", KernelVersion: "vmlinux-6.1.102", FirecrackerVersion: "v1.10.1_1fcdaec"},
		},
		{
			name: "flat form is version 1", version: 1, template: "t",
			in:   `{"kernelVersion":"vmlinux-6.1.102","firecrackerVersion":"v1.10.1","buildID":"b","templateID":"t"}`,
			want: Versions{BuildID: "b", KernelVersion: "vmlinux-6.1.102", FirecrackerVersion: "v1.10.1"},
		},
		{name: "empty", in: "", err: "parse metadata"},
		{name: "not JSON", in: "<html>", err: "parse metadata"},
		{name: "wrong type", in: `{"version":"2"}`, err: "parse metadata"},
		{name: "no build id", in: `{"version":2,"template":{"kernel_version":"k"}}`, err: "no build id"},
		{name: "no kernel", in: `{"buildID":"b"}`, err: "kernel version"},
		{name: "kernel elsewhere", in: `{"buildID":"b","kernelVersion":"../../etc"}`, err: "kernel version"},
		{name: "kernel is a dot", in: `{"buildID":"b","kernelVersion":".."}`, err: "kernel version"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, err := ParseMetadata([]byte(tt.in))
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("error %v, want one with %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if m.Template != tt.want || m.Version != tt.version || m.TemplateID != tt.template {
				t.Errorf("%+v", m)
			}
		})
	}
}

func TestMetadataRoundTrip(t *testing.T) {
	dir := t.TempDir()
	home := "/home/user"
	in := Metadata{
		Version: 2, Template: Versions{BuildID: "b", KernelVersion: "k"},
		Context: Context{User: "user", WorkDir: &home},
		Built:   &Built{Alias: "base", Variant: Default, Packages: []string{"bash=5"}},
	}
	if err := in.write(filepath.Join(dir, "metadata.json")); err != nil {
		t.Fatal(err)
	}
	out, err := readMetadata(dir)
	if err != nil || !reflect.DeepEqual(in, out) {
		t.Errorf("%+v, %v is not %+v", out, err, in)
	}
}

func FuzzParseMetadata(f *testing.F) {
	f.Add([]byte(`{"version":2,"template":{"build_id":"b","kernel_version":"k"}}`))
	f.Add([]byte(`{"kernelVersion":"k","buildID":"b"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ParseMetadata(b)
		if err != nil {
			return
		}
		kernel := Store{Dir: "/data"}.kernel(m.Template.KernelVersion)
		if m.Template.BuildID == "" || filepath.Dir(kernel) != "/data/kernels" {
			t.Errorf("accepted %+v, whose kernel is %s", m, kernel)
		}
	})
}
