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
			Cause: fmt.Sprintf("%s belongs to %s, and the VMM (pid %d) runs as user %d without CAP_NET_ADMIN: the kernel does not let it open the tap (EPERM)", d.Name, owners(*d.Tun), f.Sandbox.VMMPID, u.UID),
			Evidence: append([]string{
				"owner and group of " + d.Name + " in " + where(f) + ": " + owners(*d.Tun),
				fmt.Sprintf("the VMM, pid %d, runs as user %d with the groups %v; it has CAP_NET_ADMIN: %s", f.Sandbox.VMMPID, u.UID, u.GIDs, u.NetAdmin),
			}, carrierEvidence(f)...),
			Fix: fmt.Sprintf("make the tap for the VMM's user (%s link del %s; %[1]s tuntap add %[2]s mode tap user %[3]d, its address and up), in whatever makes the slots too; then %[4]s", ip(f), d.Name, u.UID, anew(f)),
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
