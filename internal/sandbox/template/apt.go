package template

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// debPackage is one package in the version that apt would install.
type debPackage struct {
	Name    string `json:"name"`
	Version string `json:"version"`

	size int64 // of its file; only while it is downloaded
}

func (p debPackage) String() string { return p.Name + "=" + p.Version }

// rootPackages are what the guest's programs need; busybox stands in for the
// small tools that none of them brings (ip, ps, vi, wget, ...).
var rootPackages = []string{
	"base-files", "bash", "busybox-static", "coreutils", "dash", "findutils",
	"grep", "libc-bin", "media-types", "netbase", "python3", "sed", "tzdata",
}

// kernelPackage depends on the newest kernel of its kind.
const kernelPackage = "linux-image-cloud-amd64"

// unwanted are dependencies that a guest without a package manager has no use for.
var unwanted = []string{"dpkg", "debconf", "readline-common"}

// apt resolves and downloads with the host's sources and lists, but as if nothing
// were installed, and without touching the host's dpkg state or archive cache.
type apt struct{ dir string } // work directory

func (a apt) options() []string {
	return []string{
		"-o", "Dir::State::status=" + filepath.Join(a.dir, "status"),
		"-o", "Dir::Cache::archives=" + a.dir,
		"-o", "Debug::NoLocking=1", // nothing shared is written
		"-o", "APT::Sandbox::User=root", // _apt may not enter a directory of ours
		"-o", "APT::Architecture=amd64", // the guest's, whatever the host's
		"-o", "APT::Get::AllowUnauthenticated=false",
	}
}

// resolve returns what installing the named packages on nothing would install.
func (a apt) resolve(ctx context.Context, names ...string) ([]debPackage, error) {
	if err := a.prepare(); err != nil {
		return nil, err
	}
	args := append(a.options(), "install", "--yes", "--print-uris", "--no-install-recommends")
	out, err := aptGet.run(ctx, a.dir, append(args, names...)...)
	if err != nil {
		if strings.Contains(err.Error(), "Unable to locate package") || strings.Contains(err.Error(), "no installation candidate") {
			err = fmt.Errorf("%w: run `apt-get update`, and see that apt's sources hold Debian's main archive", err)
		}
		return nil, fmt.Errorf("resolve packages: %w", err)
	}
	packages := parseURIs(string(out))
	if len(packages) == 0 {
		return nil, errors.New("resolve packages: apt-get named none")
	}
	return packages, nil
}

func (a apt) prepare() error {
	if err := os.MkdirAll(filepath.Join(a.dir, "partial"), 0o755); err != nil {
		return fmt.Errorf("prepare download: %w", err)
	}
	if err := os.WriteFile(filepath.Join(a.dir, "status"), nil, 0o644); err != nil {
		return fmt.Errorf("prepare download: %w", err)
	}
	return nil
}

// parseURIs reads lines of the form 'URL' name_version_arch.deb size [hash], in
// which the file's name has %3a for the version's colon. Other lines are apt's talk.
func parseURIs(out string) []debPackage {
	var packages []debPackage
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if len(f) < 3 || !strings.HasPrefix(f[0], "'") {
			continue
		}
		parts := strings.Split(strings.TrimSuffix(f[1], ".deb"), "_")
		if len(parts) != 3 || !strings.HasSuffix(f[1], ".deb") {
			continue
		}
		version, err := url.PathUnescape(parts[1])
		if err != nil {
			continue
		}
		size, _ := strconv.ParseInt(f[2], 10, 64) // only shown
		packages = append(packages, debPackage{Name: parts[0], Version: version, size: size})
	}
	slices.SortFunc(packages, func(a, b debPackage) int { return strings.Compare(a.Name, b.Name) })
	return packages
}

// download fetches exactly these versions, checked by apt against the archive's
// signatures, and returns the files in the same order.
func (a apt) download(ctx context.Context, packages []debPackage, tell func(done, total int64)) ([]string, error) {
	args := append(a.options(), "download")
	for _, p := range packages {
		args = append(args, p.String())
	}
	var total int64
	for _, p := range packages {
		total += p.size
	}
	stop := a.watch(total, tell)
	_, err := aptGet.run(ctx, a.dir, args...)
	stop()
	if err != nil {
		return nil, fmt.Errorf("download packages: %w", err)
	}
	files := make([]string, len(packages))
	for i, p := range packages {
		pattern := p.Name + "_" + strings.ReplaceAll(p.Version, ":", "%3a") + "_*.deb"
		found, err := filepath.Glob(filepath.Join(a.dir, pattern))
		if err != nil || len(found) != 1 {
			return nil, fmt.Errorf("download packages: no file for %s", p)
		}
		files[i] = found[0]
	}
	return files, nil
}

// watch tells again and again how much of a download is there, until stop is called.
func (a apt) watch(total int64, tell func(done, total int64)) (stop func()) {
	if tell == nil || total <= 0 {
		return func() {}
	}
	ended, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-ended:
				return
			case <-time.After(200 * time.Millisecond):
				tell(min(a.there(), total), total)
			}
		}
	}()
	return func() { close(ended); <-done }
}

// there is the bytes of packages that have come so far: apt writes them to the directory
// itself, or to partial in it.
func (a apt) there() (n int64) {
	for _, pattern := range []string{"*.deb", filepath.Join("partial", "*.deb")} {
		files, _ := filepath.Glob(filepath.Join(a.dir, pattern))
		for _, f := range files {
			if st, err := os.Stat(f); err == nil {
				n += st.Size()
			}
		}
	}
	return n
}

// splitKernel takes the kernel's image out of the packages that its meta package
// depends on; its other dependencies serve an installation, which there is none of.
func splitKernel(packages []debPackage) (debPackage, error) {
	for _, p := range packages {
		rest, ok := strings.CutPrefix(p.Name, "linux-image-")
		if ok && rest != "" && rest[0] >= '0' && rest[0] <= '9' {
			return p, nil
		}
	}
	return debPackage{}, fmt.Errorf("resolve packages: %s depends on no kernel image", kernelPackage)
}
