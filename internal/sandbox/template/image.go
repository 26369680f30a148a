package template

import (
	"context"
	"fmt"
	"os"
	"strconv"
)

// imageSize is what the guest sees; the file is sparse, so that it takes what is
// in it. No file of ours is near the limit that this sets to writing.
const imageSize = 1536 << 20

// makeImage writes a new ext4 image with the content of dir, without mounting.
// It has no journal: what the guest writes ends with it.
func makeImage(ctx context.Context, path, dir, uuid string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("make image: %w", err)
	}
	if err := f.Truncate(imageSize); err != nil {
		f.Close()
		return fmt.Errorf("make image: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("make image: %w", err)
	}
	// The tables of inodes are holes already: without lazy_itable_init=0 the guest
	// would fill them in the background.
	_, err = mkfsExt4.run(ctx, "", "-q", "-F", "-d", dir, "-U", uuid, "-L", "tapwatch",
		"-b", "4096", "-m", "0", "-N", strconv.Itoa(48<<10), "-O", "^has_journal,^resize_inode",
		"-E", "hash_seed="+uuid+",lazy_itable_init=0,root_owner=0:0", path)
	if err != nil {
		return fmt.Errorf("make image: %w", err)
	}
	return nil
}
