package ext4

// Inline data: a small file lies in its inode, the first 60 bytes where the block
// numbers would be, the rest as the extended attribute system.data.

const (
	xattrMagic      = 0xEA020000
	xattrSystem     = 7 // index of the prefix "system."
	xattrEntrySize  = 16
	xattrHeaderSize = 4
)

// inline returns the content of an inode with inline data.
func (i *inode) inline() ([]byte, error) {
	b := i.block[:]
	if i.size > int64(len(b)) {
		b = append(append([]byte{}, b...), i.systemData()...)
	}
	if int64(len(b)) < i.size {
		return nil, damaged("inode %d: %d bytes of inline data, not %d", i.number, len(b), i.size)
	}
	return b[:i.size], nil
}

// systemData finds the attribute's value; nil where there is none.
func (i *inode) systemData() []byte {
	if len(i.extra) < xattrHeaderSize || le.Uint32(i.extra) != xattrMagic {
		return nil
	}
	area := i.extra[xattrHeaderSize:] // values are counted from here
	for e := area; len(e) >= xattrEntrySize && le.Uint32(e) != 0; {
		nameLen := int(e[0])
		size := (xattrEntrySize + nameLen + 3) &^ 3
		if size > len(e) {
			return nil
		}
		if e[1] == xattrSystem && string(e[xattrEntrySize:xattrEntrySize+nameLen]) == "data" {
			at, n := int(le.Uint16(e[2:])), uint64(le.Uint32(e[8:]))
			if uint64(at)+n > uint64(len(area)) {
				return nil
			}
			return area[at : at+int(n)]
		}
		e = e[size:]
	}
	return nil
}
