package probe

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"tapwatch/internal/netns"
)

// hooks keeps a note of every device that we gave a clsact qdisc, in files, so
// that a qdisc that was there before us is never removed, not even by a Cleanup
// after a kill.
type hooks struct {
	dir   string
	owner Owner // of our filters
}

// newHooks takes the owner that the directory has, zero where it has none; claim makes
// one.
func newHooks(dir string) hooks {
	if dir == "" {
		dir = DefaultHooksDir
	}
	if full, err := filepath.Abs(dir); err == nil { // others read it in a label
		dir = full
	}
	return hooks{dir: dir, owner: readOwner(dir)}
}

func (h hooks) note(d netns.Device) string {
	return filepath.Join(h.dir, fmt.Sprintf("%d-%d", d.Netns, d.Ifindex))
}

func (h hooks) made(d netns.Device) bool {
	_, err := os.Stat(h.note(d))
	return err == nil
}

func (h hooks) forget(d netns.Device) error {
	if err := removeIfThere(h.note(d)); err != nil {
		return fmt.Errorf("remove hook note: %w", err)
	}
	return nil
}

// ensureClsact makes the qdisc where there is none and says whether it did. It
// runs inside the namespace. The note is written first: a note without a qdisc
// is harmless, a qdisc without a note would stay for good.
func (h hooks) ensureClsact(nsPath string, d netns.Device) (made bool, err error) {
	kind, err := clsactKind(d)
	if err != nil {
		return false, err
	}
	switch kind {
	case "clsact":
		return h.made(d), nil // a foreign one, or ours from before a kill
	case "ingress":
		return false, ErrIngressQdisc
	}
	if err := os.MkdirAll(h.dir, 0o755); err != nil {
		return false, fmt.Errorf("note clsact: %w", err)
	}
	if err := os.WriteFile(h.note(d), []byte(nsPath), 0o644); err != nil {
		return false, fmt.Errorf("note clsact: %w", err)
	}
	err = netlink.QdiscAdd(clsact(d))
	if errors.Is(err, unix.EEXIST) { // another agent came first: it is theirs
		return false, h.forget(d)
	}
	if err != nil {
		return false, errors.Join(fmt.Errorf("add clsact: %w", err), h.forget(d))
	}
	return true, nil
}

// dropClsact removes the qdisc if we made it and nobody else uses it: if another
// moved in, it is theirs now.
func (h hooks) dropClsact(d netns.Device, made bool) error {
	if !made {
		return nil
	}
	if err := dropUnused(d); err != nil {
		return err
	}
	return h.forget(d)
}

// dropUnused removes the clsact qdisc of the present namespace's device where it
// has no filter.
func dropUnused(d netns.Device) error {
	l, err := netlink.LinkByIndex(int(d.Ifindex))
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("find device: %w", err)
	}
	for _, dir := range directions {
		filters, err := netlink.FilterList(l, dir.parent)
		if err != nil {
			return fmt.Errorf("list filters: %w", err)
		}
		if len(filters) > 0 {
			return nil
		}
	}
	if err := netlink.QdiscDel(clsact(d)); err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("remove clsact: %w", err)
	}
	return nil
}

func clsact(d netns.Device) *netlink.Clsact {
	return &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: int(d.Ifindex),
		Handle:    netlink.MakeHandle(0xffff, 0),
		Parent:    netlink.HANDLE_CLSACT,
	}}
}

// clsactKind returns "clsact", "ingress" or "": what stands at the ingress hook.
// It asks for that one qdisc: a list is always of the whole namespace, and a
// host's own may have thousands of taps. The kernel sends the answer to those who
// listen, and to us because of NLM_F_ECHO. Where there is no qdisc, it sends the
// acknowledgement alone, or ENOENT.
func clsactKind(d netns.Device) (string, error) {
	req := nl.NewNetlinkRequest(unix.RTM_GETQDISC, unix.NLM_F_ECHO|unix.NLM_F_ACK)
	req.AddData(&nl.TcMsg{Family: unix.AF_UNSPEC, Ifindex: int32(d.Ifindex), Parent: netlink.HANDLE_CLSACT})
	msgs, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWQDISC)
	if errors.Is(err, unix.ENOENT) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("ask for the qdisc: %w", err)
	}
	for _, msg := range msgs {
		attrs, err := nl.ParseRouteAttr(msg[nl.SizeofTcMsg:])
		if err != nil {
			return "", fmt.Errorf("read the qdisc: %w", err)
		}
		for _, attr := range attrs {
			if attr.Attr.Type == nl.TCA_KIND {
				return nl.BytesToString(attr.Value), nil
			}
		}
	}
	return "", nil
}
