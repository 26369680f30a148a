package netns

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"tapwatch/internal/nlsafe"
)

// NSID is the kernel's number for a namespace as one other namespace sees it;
// here always the one that the netlink socket in use belongs to. It is what
// netlink's events name a namespace by. It is reused at once when the namespace
// goes: to be turned into a Cookie as soon as it is met.
type NSID int32

// NoNSID is that of a namespace that has none.
const NoNSID NSID = unix.NETNSA_NSID_NOT_ASSIGNED

// sizeofRtgenmsg is that of struct rtgenmsg (one byte) with its padding.
const sizeofRtgenmsg = 4

// NSIDOf returns the number of the namespace that f is open on, or NoNSID.
func NSIDOf(c *nlsafe.Conn, f *os.File) (NSID, error) {
	body, err := c.Get(unix.RTM_GETNSID, nsidRequest(f))
	if err != nil {
		return NoNSID, fmt.Errorf("get nsid of %s: %w", f.Name(), err)
	}
	return ParseNSID(body)
}

// AssignNSID returns the number of the namespace that f is open on, and gives
// it one first where it has none (needs CAP_NET_ADMIN). The kernel takes it back
// when the namespace goes; until then it cannot be changed.
func AssignNSID(c *nlsafe.Conn, f *os.File) (NSID, error) {
	id, err := NSIDOf(c, f)
	if err != nil || id != NoNSID {
		return id, err
	}
	const choose = ^uint32(0)
	body := nlsafe.AppendUint32(nsidRequest(f), unix.NETNSA_NSID, choose)
	if err := c.Do(unix.RTM_NEWNSID, 0, body); err != nil && !errors.Is(err, unix.EEXIST) {
		return NoNSID, fmt.Errorf("give %s an nsid: %w", f.Name(), err)
	}
	return NSIDOf(c, f)
}

// ListNSIDs returns every number that is in use.
func ListNSIDs(c *nlsafe.Conn) ([]NSID, error) {
	ms, err := c.Dump(unix.RTM_GETNSID, make([]byte, sizeofRtgenmsg))
	if err != nil {
		return nil, fmt.Errorf("list nsids: %w", err)
	}
	ids := make([]NSID, 0, len(ms))
	for _, m := range ms {
		id, err := ParseNSID(m.Body)
		if err != nil {
			return nil, fmt.Errorf("list nsids: %w", err)
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// ParseNSID reads the body of RTM_NEWNSID or RTM_DELNSID.
func ParseNSID(body []byte) (NSID, error) {
	id := NoNSID
	if len(body) < sizeofRtgenmsg {
		return id, fmt.Errorf("%w: %d bytes of nsid message", nlsafe.ErrMalformed, len(body))
	}
	err := nlsafe.EachAttr(body[sizeofRtgenmsg:], func(typ uint16, v []byte) error {
		if typ != unix.NETNSA_NSID {
			return nil
		}
		n, err := nlsafe.Uint32(v)
		if err == nil && NSID(n) < NoNSID {
			err = fmt.Errorf("%w: nsid %d", nlsafe.ErrMalformed, NSID(n))
		}
		if err == nil {
			id = NSID(n)
		}
		return err
	})
	return id, err
}

func nsidRequest(f *os.File) []byte {
	body := make([]byte, sizeofRtgenmsg)
	return nlsafe.AppendAttr(body, unix.NETNSA_FD, binary.NativeEndian.AppendUint32(nil, uint32(f.Fd())))
}
