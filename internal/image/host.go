package image

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"tapwatch/internal/ext4"
)

// Checks of the image as a whole and of what it needs around it.

func checkImage(t *Template, _ Host) *Result {
	switch {
	case t.FSErr == nil && t.FS.Dirty():
		return fine(fmt.Sprintf("%s, ext4, in use or not unmounted: what is read may be some seconds old", bytesOf(t.Size)))
	case t.FSErr == nil:
		return fine(bytesOf(t.Size) + ", ext4")
	case errors.Is(t.FSErr, fs.ErrPermission), errors.Is(t.FSErr, ext4.ErrUnsupported):
		return unsure(t.FSErr.Error())
	}
	return wrong("image-unreadable", "no guest can mount "+t.Rootfs, "copy or build the template again; compare its size with where it came from",
		t.FSErr.Error())
}

func checkMetadata(t *Template, _ Host) *Result {
	switch {
	case t.Dir == "":
		return nil
	case t.MetadataErr == nil:
		return fine("build " + t.Versions.BuildID)
	case errors.Is(t.MetadataErr, fs.ErrPermission):
		return unsure(t.MetadataErr.Error())
	}
	return wrong("metadata-unreadable", "metadata.json of the template is missing or makes no sense",
		"copy it from the build's storage, or build the template again", t.MetadataErr.Error())
}

func checkKernel(t *Template, h Host) *Result {
	if t.Dir == "" || t.MetadataErr != nil {
		return nil
	}
	return versioned(h.Kernels, "--kernels", t.Versions.Kernel, "vmlinux.bin", "kernel-missing", "kernel")
}

func checkVMM(t *Template, h Host) *Result {
	if t.Dir == "" || t.MetadataErr != nil || t.Versions.VMM == "" {
		return nil
	}
	return versioned(h.VMMs, "--fc-versions", t.Versions.VMM, "firecracker", "vmm-missing", "Firecracker")
}

// versioned looks for the file of a version that the metadata names.
func versioned(dir, flag, version, name, code, what string) *Result {
	if dir == "" {
		return unsure("where this host keeps it is not known: say it with " + flag)
	}
	path, err := find(dir, version, name)
	if err != nil {
		return wrong(code, fmt.Sprintf("this host does not have the %s that the template was built for: %s", what, version),
			"copy that version to "+dir+", or build the template again for one that is here", err.Error())
	}
	return fine(path)
}

// checkCache: E2B's orchestrator resumes from its cache, and a directory there
// without readable metadata.json fails every sandbox of the build.
func checkCache(t *Template, h Host) *Result {
	if t.Dir == "" || t.MetadataErr != nil || h.Cache == "" {
		return nil
	}
	build := filepath.Join(h.Cache, t.Versions.BuildID)
	caches, err := os.ReadDir(filepath.Join(build, "cache"))
	if errors.Is(err, fs.ErrNotExist) {
		return fine("not in the cache yet")
	}
	if err != nil {
		return unsure(err.Error())
	}
	var bad []string
	for _, c := range caches {
		if _, err := readVersions(filepath.Join(build, "cache", c.Name(), metadataName)); err != nil {
			bad = append(bad, err.Error())
		}
	}
	if len(bad) > 0 {
		return wrong("cache-metadata-missing", "metadata.json in the template cache is missing or makes no sense",
			"copy it from "+filepath.Join(t.Dir, metadataName)+", or remove that directory of the cache while no sandbox uses it", bad...)
	}
	return fine(fmt.Sprintf("%d in the cache, each with its metadata", len(caches)))
}

// bytesOf is a size for people.
func bytesOf(n int64) string {
	switch {
	case n < 0:
		return "?"
	case n < 1<<20:
		return fmt.Sprintf("%d bytes", n)
	}
	return fmt.Sprintf("%d MiB", n>>20)
}
