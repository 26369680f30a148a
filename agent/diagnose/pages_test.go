package diagnose

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tapwatch/agent/draw"
	"tapwatch/agent/path"
	"tapwatch/internal/registry"
)

var update = flag.Bool("update", false, "write the pictures in docs/checks anew")

// filteredAtEth0 is a chain of the family netdev, as the kernel tells of it.
func filteredAtEth0(f *path.Facts) {
	f.Dropped = []path.Dropped{{Since: now.Add(-3 * time.Second), Last: now.Add(-200 * time.Millisecond), At: "in ns-7", Reason: "NETFILTER_DROP", Function: "nft_do_chain", Count: 3}}
}

// examples are the facts behind the picture on each check's page.
var examples = map[string]path.Facts{
	"proxy-not-listening": changed(proxyGone),
	"relay-not-listening": changed(relayGone),
	"tap-missing":         changed(tapGone),
	"tap-down":            changed(tapIsDown, noTrafficYet),
	"vmm-exited":          changed(vmmDead),
	"vmm-not-attached":    changed(neverAttached, noTrafficYet),
	"no-carrier":          changed(vmmUnseen),
	"guest-silent":        changed(guestMute),
	"guest-no-arp":        changed(wrongAddress),
	"envd-refused":        changed(portClosed),
	"envd-no-answer":      changed(synDropped),

	"relay-wrong-address":    changed(relayGone, relayElsewhere),
	"vmm-stopped":            changed(synDropped, stopped),
	"init-missing":           changed(vmmDead, noTrafficYet, spoiled("init-missing", "the image has no /sbin/init, so its kernel panics: no working init found", "open sbin/init: file does not exist", "put an init into the image (systemd, busybox or a script), as /sbin/init or with a link there")),
	"init-not-executable":    changed(vmmDead, noTrafficYet, spoiled("init-not-executable", "/sbin/init is not executable, so the kernel cannot start it", "its mode is -rw-r--r--", "chmod 755 /sbin/init in the image")),
	"init-shebang":           changed(vmmDead, noTrafficYet, corruptShebang),
	"envd-missing":           changed(portClosed, spoiled("envd-missing", "the image has no envd", "looked for /usr/bin/envd, /usr/local/bin/envd", "put envd into the image, as /usr/bin/envd with mode 755")),
	"envd-not-runnable":      changed(portClosed, spoiled("envd-not-runnable", "this host's guests cannot run /usr/bin/envd: it is built for EM_AARCH64, not for EM_X86_64", "", "install envd as it is built for amd64")),
	"init-no-cgroup2":        changed(portClosed, noCgroup2),
	"cache-metadata-missing": changed(portClosed, spoiled("cache-metadata-missing", "metadata.json in the template cache is missing or makes no sense", "open /cache/b1/cache/c1/metadata.json: no such file or directory", "copy it from /templates/b1/metadata.json, or remove that directory of the cache while no sandbox uses it")),

	"veth-down":       changed(vethCut),
	"ip-forward-off":  changed(notForwarding),
	"rule-drops":      changed(filtered),
	"host-rule-drops": changed(filteredByHost),
	"tap-elsewhere":   changed(tapMoved),
	"vmm-elsewhere":   changed(inAnotherNamespace, noTrafficYet),
	"envd-hung":       changed(silentEnvd),
	"tap-busy":        changed(heldByAnother, noTrafficYet),
	"vmm-other-tap":   changed(onAnotherTap, noTrafficYet),
	"guest-panic":     changed(panicked),
	"guest-no-driver": changed(guestMute, onConsole("guest-no-driver", "init: no network interface eth0: is the NIC driver there?")),
	"mac-changed":     changed(synDropped, otherMAC),
	"guest-hung":      changed(hung),
	"mtu-mismatch":    changed(otherMTU),

	"dnat-missing":     changed(untranslated, shape(registry.DNAT)),
	"guest-no-init":    changed(vmmDead, noTrafficYet, onConsole("guest-no-init", "[ 0.812] Kernel panic - not syncing: No working init found. Try passing init= option to kernel.")),
	"guest-no-cgroup2": changed(portClosed, onConsole("guest-no-cgroup2", "mount: mounting cgroup2 on /sys/fs/cgroup failed: No such device")),

	"proxy-wrong-address": changed(proxyElsewhere),
	"proxy-fd-limit":      changed(opened(proxy, 4096)),
	"proxy-not-accepting": changed(filled(proxy, 8)),
	"relay-fd-limit":      changed(opened(relay, 1024)),
	"relay-not-accepting": changed(filled(relay, 8), halted(relay)),

	"vmm-no-nic":           changed(neverAttached, noTrafficYet, apiSaid(path.VMMRunning)),
	"vmm-zombie":           changed(zombie),
	"vmm-paused":           changed(synDropped, apiSaid(path.VMMPaused, eth0)),
	"vmm-blocked":          changed(hung, stuck("D", "io_schedule", 12)),
	"vmm-starved":          changed(hung, throttled(0)),
	"guest-offline":        changed(hung, vcpus(0.02, 0, 80)),
	"guest-no-reply":       changed(synDropped, replies(path.No)),
	"vmm-not-started":      changed(guestMute, apiSaid(path.VMMNotStarted, eth0)),
	"vmm-api-silent":       changed(hung, apiSilent(30, false)),
	"guest-mac-mismatch":   changed(synDropped, apiSaid(path.VMMRunning, eth0), neighbourIs("02:fc:00:00:00:77")),
	"host-route":           changed(leadsTo(toNamespace, "tun7")),
	"return-route":         changed(leadsTo(toClient, "")),
	"rp-filter":            changed(sourceRefused),
	"no-default-route":     changed(func(f *path.Facts) { f.Inside.NoDefault = path.Yes }),
	"conntrack-full":       changed(tracked(262_144), losing(2)),
	"input-route":          changed(leadsTo(func(i *path.Inside) *path.Route { return &i.FromGuest }, "")),
	"gateway-mac-mismatch": changed(astray(1)),
	"tap-noarp":            changed(noARP),
	"veth-neighbour":       changed(vpeerIs("02:00:00:00:00:99", "PERMANENT")),
	"tap-qdisc":            changed(queued(path.Qdisc{Device: "tap0", Kind: "netem", Loss: 1})),
	"veth-qdisc":           changed(queued(path.Qdisc{Device: "eth0", Kind: "netem", Loss: 1})),
	"relay-no-ports":       changed(dialing(28_232, 28_232)),
	"tcp-memory":           changed(usingPages(5901)),
	"tap-address":          changed(addressGone),
	"guest-route":          changed(leadsTo(toGuest, "eth0")),
	"tap-multi-queue":      changed(neverAttached, noTrafficYet, tunIs(multiQueue)),
	"tap-owner":            changed(neverAttached, noTrafficYet, ownedByOther),
	"tap-queue-full":       changed(dropping("FULL_RING", 201, 0.4)),
	"tap-drops":            changed(dropping("TC_EGRESS", 30, 0.7)),
	"no-egress":            changed(goesOut(hostDoesNotForward)),
	"port-refused":         changed(refusing(12, 0.4)),
	"orphaned":             changed(launcherGone(4), proxyGone),
	"tap-wrong-kind":       changed(neverAttached, noTrafficYet, kindIs("veth")),
	"vmm-misplaced":        changed(misplaced, noTrafficYet),
	"unexplained":          changed(requests(askedOf(0, map[path.Outcome]int{path.Lost: 6}, 8*time.Second), path.Asked{}), lossAt(path.Relay, "veth-7 on the host", "eth0 in ns-7"), filteredAtEth0),
	"degraded":             changed(requests(askedOf(7, map[path.Outcome]int{path.Lost: 3}, 200*time.Millisecond), askedOf(9, nil, time.Second))),
	"tap-no-vnet-hdr":      changed(guestMute, apiSaid(path.VMMRunning, eth0), tunIs(func(t *path.Tun) { t.VnetHdr = false })),
}

func noTrafficYet(f *path.Facts) { *f.Traffic = path.Traffic{} }

// TestPagesShowThePicture holds each page to what an operator really sees.
func TestPagesShowThePicture(t *testing.T) {
	for _, c := range Checks {
		t.Run(c.Code, func(t *testing.T) {
			file := filepath.Join("..", "..", "docs", "checks", c.Code+".md")
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			page := string(b)
			if want := head(c); !strings.HasPrefix(page, want) {
				t.Errorf("the page does not begin with\n%s", want)
			}
			f := examples[c.Code]
			d := Run(f)
			if len(d.Findings) != 1 || d.Findings[0].Code != c.Code {
				t.Fatalf("the example is none: %s", summary(d))
			}
			var picture strings.Builder
			draw.Path(&picture, path.Slot{Facts: f, Diagnosis: d}, draw.Screen{})
			if *update {
				page = withPicture(page, picture.String())
				if err := os.WriteFile(file, []byte(page), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if !strings.Contains(page, "```text\n"+picture.String()+"```\n") {
				t.Errorf("the page does not show\n%s", picture.String())
			}
			if n := strings.Count(page, "\n"); n > 60 {
				t.Errorf("%d lines: too long for 3 a.m.", n)
			}
		})
	}
}

// withPicture replaces a page's first picture.
func withPicture(page, picture string) string {
	before, rest, found := strings.Cut(page, "```text\n")
	_, after, closed := strings.Cut(rest, "```\n")
	if !found || !closed {
		return page
	}
	return before + "```text\n" + picture + "```\n" + after
}

// head is how the page of a check begins.
func head(c Check) string {
	boot := ""
	if c.InBoot {
		boot = ", also while the sandbox boots"
	}
	hop := "hop " + string(c.Hop)
	if c.Hop == "" {
		hop = "any hop"
	}
	return "# " + c.Title + "\n\n`" + c.Code + "`, " + hop + ", " + string(c.Severity) + boot
}
