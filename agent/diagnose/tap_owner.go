package diagnose

import (
	"fmt"

	"tapwatch/agent/path"
)

var tapOwner = Check{
	Code:      "tap-owner",
	Title:     "NO-CARRIER: the tap belongs to another user than the VMM runs as",
	Hop:       path.Tap,
	Severity:  path.Critical,
	DependsOn: append([]string{"tap-multi-queue"}, tapMultiQueue.DependsOn...),
	Run: func(f path.Facts) Result {
		d, u := f.Device, f.Sandbox.VMMUser
		if d.Tun == nil || u == nil || d.Carrier != path.No || f.Sandbox.VMMAlive != path.Yes || d.Holders == nil || len(d.Holders) > 0 || u.MayOpen(*d.Tun) != path.No {
			return notApplicable()
		}
		return wrong(path.Finding{
			Cause: fmt.Sprintf("EPERM: %s belongs to %s, and the VMM (pid %d) runs as user %d without CAP_NET_ADMIN: it may not open it", d.Name, owners(*d.Tun), f.Sandbox.VMMPID, u.UID),
			Evidence: append([]string{
				"owner and group of " + d.Name + " in " + where(f) + ": " + owners(*d.Tun),
				fmt.Sprintf("/proc/%d/status: user %d, groups %v, CAP_NET_ADMIN: %s", f.Sandbox.VMMPID, u.UID, u.GIDs, u.NetAdmin),
			}, carrierEvidence(f)...),
			Fix: fmt.Sprintf("give the tap to the VMM's user: %s tuntap add %s mode tap user %d, its address and up; then create the sandbox anew", ip(f), d.Name, u.UID),
		})
	},
}

// owners is who may open a tap.
func owners(t path.Tun) string {
	user, group := "any user", "any group"
	if t.Owner != nil {
		user = fmt.Sprintf("user %d", *t.Owner)
	}
	if t.Group != nil {
		group = fmt.Sprintf("group %d", *t.Group)
	}
	return user + ", " + group
}
