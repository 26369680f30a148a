package template

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// point moves an alias to a build, in one step.
func (b builder) point(alias, id string) error {
	if err := os.MkdirAll(b.aliases(), 0o755); err != nil {
		return fmt.Errorf("name build: %w", err)
	}
	tmp := b.alias(tmpPrefix + alias)
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("name build: %w", err)
	}
	if err := os.Symlink(filepath.Join("..", "templates", id), tmp); err != nil {
		return fmt.Errorf("name build: %w", err)
	}
	if err := os.Rename(tmp, b.alias(alias)); err != nil {
		return fmt.Errorf("name build: %w", err)
	}
	return nil
}

// tmpDir makes a directory whose name says that it is half made.
func tmpDir(parent string) (string, error) {
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return "", fmt.Errorf("make work directory: %w", err)
	}
	dir, err := os.MkdirTemp(parent, tmpPrefix)
	if err != nil {
		return "", fmt.Errorf("make work directory: %w", err)
	}
	return dir, os.Chmod(dir, 0o755)
}

// replaceDir renames from to to; what was at to is then at from, for its caller to
// remove. A VMM that has files of it open keeps them.
func replaceDir(from, to string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_EXCHANGE)
	if errors.Is(err, unix.ENOENT) {
		err = os.Rename(from, to)
	}
	if err != nil {
		return fmt.Errorf("put %s in place: %w", to, err)
	}
	return nil
}
