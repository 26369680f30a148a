package template

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// check reports the first file that is missing or cut short. It reads headers
// only: 1 ms, so that every sandbox's creation can afford it.
func (t Template) check() error {
	if err := checkFile(t.Rootfs, checkExt4); err != nil {
		return err
	}
	return checkBoot(t.Kernel, t.Initrd)
}

// checkBoot checks a kernel and, where there is one, its initrd.
func checkBoot(kernel, initrd string) error {
	if err := checkFile(kernel, checkKernel); err != nil {
		return err
	}
	if initrd == "" {
		return nil
	}
	return checkFile(initrd, checkInitrd)
}

func checkFile(path string, check func(io.ReaderAt, int64) error) error {
	f, err := os.Open(path)
	if err != nil {
		return err // names the file
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := check(f, info.Size()); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// checkExt4 compares the image with its superblock.
// From struct ext4_super_block in fs/ext4/ext4.h, at byte 1024.
func checkExt4(r io.ReaderAt, size int64) error {
	sb := make([]byte, 0x154)
	if _, err := r.ReadAt(sb, 1024); err != nil {
		return errors.New("too short for an ext4 image")
	}
	if binary.LittleEndian.Uint16(sb[0x38:]) != 0xEF53 {
		return errors.New("not an ext4 image")
	}
	blocks := uint64(binary.LittleEndian.Uint32(sb[0x04:]))
	const incompat64Bit = 0x80
	if binary.LittleEndian.Uint32(sb[0x60:])&incompat64Bit != 0 {
		blocks |= uint64(binary.LittleEndian.Uint32(sb[0x150:])) << 32
	}
	shift := binary.LittleEndian.Uint32(sb[0x18:])
	if shift > 6 || blocks == 0 || blocks > 1<<44 { // 64 KiB blocks are the largest
		return errors.New("superblock makes no sense")
	}
	if want := blocks << (10 + shift); uint64(size) < want {
		return fmt.Errorf("cut short: %d bytes of %d", size, want)
	}
	return nil
}

// checkKernel takes an ELF whose segments are all there, or a bzImage.
func checkKernel(r io.ReaderAt, size int64) error {
	head := make([]byte, 0x206)
	if _, err := r.ReadAt(head, 0); err != nil {
		return errors.New("too short for a kernel")
	}
	if string(head[0x202:0x206]) == "HdrS" {
		return nil
	}
	f, err := elf.NewFile(r)
	if err != nil {
		return errors.New("neither an ELF nor a bzImage kernel")
	}
	for _, p := range f.Progs {
		if p.Off+p.Filesz > uint64(size) {
			return fmt.Errorf("cut short: %d bytes of at least %d", size, p.Off+p.Filesz)
		}
	}
	return nil
}

// checkInitrd looks for the end mark of the archive that initrd writes.
func checkInitrd(r io.ReaderAt, size int64) error {
	head := make([]byte, 6)
	if _, err := r.ReadAt(head, 0); err != nil {
		return errors.New("too short for an initrd")
	}
	if string(head) != cpioMagic {
		return nil // compressed, or of others: the kernel reads more than we do
	}
	tail := make([]byte, min(size, 512))
	if _, err := r.ReadAt(tail, size-int64(len(tail))); err != nil {
		return fmt.Errorf("read end: %w", err)
	}
	if !bytes.Contains(tail, []byte(cpioTrailer)) {
		return errors.New("cut short: the archive has no end")
	}
	return nil
}
