package guest_test

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"tapwatch/internal/nettest"
	"tapwatch/internal/sandbox/envd/guest"
)

func fetch(t *testing.T, method, url string, header http.Header, body io.Reader) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	if header != nil {
		req.Header = header
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// form makes a body as the SDK's: full paths as file names.
func form(t *testing.T, files map[string]string) (http.Header, io.Reader) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for name, content := range files {
		p, err := w.CreateFormFile("file", name)
		if err == nil {
			_, err = io.WriteString(p, content)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	w.Close()
	return http.Header{"Content-Type": {w.FormDataContentType()}}, &b
}

func octets() http.Header { return http.Header{"Content-Type": {"application/octet-stream"}} }

func at(base, path string) string { return base + "/files?path=" + url.QueryEscape(path) }

func TestDownload(t *testing.T) {
	base, _ := daemon(t, guest.Config{})
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/a b.txt", []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/empty", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(dir+"/fifo", 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		path, user string
		header     http.Header
		code       int
		body       string
	}{
		"file":         {dir + "/a b.txt", "", nil, 200, "content"},
		"range":        {dir + "/a b.txt", "", http.Header{"Range": {"bytes=3-5"}}, 206, "ten"},
		"empty":        {dir + "/empty", "", nil, 200, ""},
		"missing":      {dir + "/nonesuch", "", nil, 404, "no such file"},
		"directory":    {dir, "", nil, 400, "is not a file"},
		"pipe":         {dir + "/fifo", "", nil, 400, "is not a file"},
		"below a file": {dir + "/empty/x", "", nil, 400, "not a directory"},
		"unknown user": {dir + "/empty", "nonesuch", nil, 401, "invalid username"},
	} {
		t.Run(name, func(t *testing.T) {
			code, body := fetch(t, "GET", at(base, tc.path)+"&username="+tc.user, tc.header, nil)
			if code != tc.code || !strings.Contains(body, tc.body) || tc.body == "" && body != "" {
				t.Errorf("got %d %q, want %d %q", code, body, tc.code, tc.body)
			}
		})
	}
	if code, body := fetch(t, "GET", at(base, "/proc/self/status"), nil, nil); code != 200 || !strings.Contains(body, "Name:") {
		t.Errorf("/proc: %d %q", code, body)
	}
}

func TestUpload(t *testing.T) {
	base, _ := daemon(t, guest.Config{})
	dir := t.TempDir()
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = io.WriteString(z, "unpacked") // into memory
	z.Close()
	gz := octets()
	gz.Set("Content-Encoding", "gzip")
	one, oneBody := form(t, map[string]string{"ignored": "one"})
	two, twoBody := form(t, map[string]string{dir + "/b/1": "first", dir + "/b/2": "second"})
	many, manyBody := form(t, map[string]string{"x": "1", "y": "2"})
	for _, tc := range []struct {
		name, path string
		header     http.Header
		body       io.Reader
		code       int
		want       map[string]string // path -> content
	}{
		{"form, path in the query", dir + "/a/b/c", one, oneBody, 200, map[string]string{dir + "/a/b/c": "one"}},
		{"form, paths in the parts", "", two, twoBody, 200, map[string]string{dir + "/b/1": "first", dir + "/b/2": "second"}},
		{"bytes", dir + "/raw", octets(), strings.NewReader("raw"), 200, map[string]string{dir + "/raw": "raw"}},
		{"overwritten, shorter", dir + "/raw", octets(), strings.NewReader("r"), 200, map[string]string{dir + "/raw": "r"}},
		{"packed", dir + "/gz", gz, &packed, 200, map[string]string{dir + "/gz": "unpacked"}},
		{"not packed", dir + "/gz", gz, strings.NewReader("plain"), 400, nil},
		{"two files for one path", dir + "/d", many, manyBody, 400, nil},
		{"onto a directory", dir, octets(), strings.NewReader("x"), 400, nil},
		{"below a file", dir + "/raw/x", octets(), strings.NewReader("x"), 400, nil},
		{"no path", "", octets(), strings.NewReader("x"), 400, nil},
		{"no form", dir + "/e", http.Header{"Content-Type": {"text/plain"}}, strings.NewReader("x"), 400, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			code, body := fetch(t, "POST", at(base, tc.path), tc.header, tc.body)
			if code != tc.code {
				t.Fatalf("got %d %s, want %d", code, body, tc.code)
			}
			if code != 200 {
				return
			}
			var said []struct{ Path, Name, Type string }
			if err := json.Unmarshal([]byte(body), &said); err != nil || len(said) != len(tc.want) {
				t.Fatalf("%s: %v", body, err)
			}
			for _, f := range said {
				b, err := os.ReadFile(f.Path)
				if err != nil || string(b) != tc.want[f.Path] || f.Name != filepath.Base(f.Path) || f.Type != "file" {
					t.Errorf("%+v holds %q, %v", f, b, err)
				}
			}
		})
	}
}

func TestUploadIsTheUsers(t *testing.T) {
	nettest.NeedRoot(t)
	base, _ := daemon(t, guest.Config{})
	nobody, err := user.Lookup("nobody")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	code, body := fetch(t, "POST", at(base, dir+"/new/file")+"&username=nobody", octets(), strings.NewReader("x"))
	if code != 200 {
		t.Fatalf("%d %s", code, body)
	}
	for path, want := range map[string]string{dir: "0", dir + "/new": nobody.Uid, dir + "/new/file": nobody.Uid} {
		st, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(st.Sys().(*syscall.Stat_t).Uid); got != want {
			t.Errorf("%s belongs to %s, want %s", path, got, want)
		}
	}
}

func TestSignedURLs(t *testing.T) {
	base, _ := daemon(t, guest.Config{})
	post(t, base+"/init", "", `{"accessToken":"s3cret"}`)
	file := t.TempDir() + "/f"
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	sign := func(path, operation, user, token string, until int64) string {
		text, expiry := path+":"+operation+":"+user+":"+token, ""
		if until != 0 {
			text += fmt.Sprintf(":%d", until)
			expiry = fmt.Sprintf("&signature_expiration=%d", until)
		}
		sum := sha256.Sum256([]byte(text))
		return "&signature=" + url.QueryEscape("v1_"+base64.RawStdEncoding.EncodeToString(sum[:])) + expiry
	}
	soon, past := time.Now().Unix()+100, time.Now().Unix()-100
	for name, tc := range map[string]struct {
		method, query string
		want          int
	}{
		"none":              {"GET", "", 401},
		"good":              {"GET", sign(file, "read", "", "s3cret", 0), 200},
		"good until":        {"GET", sign(file, "read", "", "s3cret", soon), 200},
		"expired":           {"GET", sign(file, "read", "", "s3cret", past), 401},
		"another operation": {"POST", sign(file, "read", "", "s3cret", 0), 401},
		"another path":      {"GET", sign(file+"x", "read", "", "s3cret", 0), 401},
		"another token":     {"GET", sign(file, "read", "", "guess", 0), 401},
		"another user":      {"GET", "&username=root" + sign(file, "read", "", "s3cret", 0), 401},
		"expiry taken away": {"GET", strings.Split(sign(file, "read", "", "s3cret", soon), "&signature_expiration")[0], 401},
		"to write":          {"POST", sign(file, "write", "", "s3cret", 0), 200},
	} {
		if code, body := fetch(t, tc.method, at(base, file)+tc.query, octets(), strings.NewReader("x")); code != tc.want {
			t.Errorf("%s: %d %s, want %d", name, code, body, tc.want)
		}
	}
}
