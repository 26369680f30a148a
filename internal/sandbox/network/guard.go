package network

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"tapwatch/internal/proc"
)

// guardPrefix begins the name of a launcher's table in the host's namespace; its pid
// follows.
const guardPrefix = "tapwatch-host-"

// groupOf is the group of the host's ends of a launcher's veth pairs, by which the rules
// of the host know them: one number, however many slots there are.
func groupOf(pid int) uint32 { return 0x74<<24 | uint32(pid)&0xffffff }

// guardHost sets the rules of the host for what comes from this process's slots: answers
// pass, and what is forwarded to public addresses. So a guest that got past its slot's
// rules reaches no port of the host, at whichever address, no other slot and no private
// network, wherever else the host's rules lead it (a published port of a container, say).
func guardHost() error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("guard the host: %w", err)
	}
	pid := os.Getpid()
	group := binaryutil.NativeEndian.PutUint32(groupOf(pid))
	table := &nftables.Table{Family: nftables.TableFamilyINet, Name: guardPrefix + strconv.Itoa(pid)}
	c.AddTable(table) // or there would be none to delete
	c.DelTable(table)
	c.AddTable(table)
	set, err := addPrivate(c, table)
	if err != nil {
		return err
	}
	add := func(chain *nftables.Chain, parts ...[]expr.Any) {
		c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: slices.Concat(parts...)})
	}
	others := []expr.Any{&expr.Meta{Key: expr.MetaKeyIIFGROUP, Register: 1}, different(group)}
	for name, hook := range map[string]*nftables.ChainHook{inputChain: nftables.ChainHookInput, forwardChain: nftables.ChainHookForward} {
		chain := c.AddChain(filterChain(table, name, hook))
		add(chain, others, verdict(expr.VerdictAccept))
		add(chain, answersOfTCP(), verdict(expr.VerdictAccept))
		if name == forwardChain {
			add(chain, ofIPv4(), in(set, true), verdict(expr.VerdictAccept))
		} else {
			add(chain, protocol(unix.IPPROTO_ICMP), verdict(expr.VerdictAccept))
			add(chain, protocol(unix.IPPROTO_ICMPV6), verdict(expr.VerdictAccept))
		}
		add(chain, verdict(expr.VerdictDrop))
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("guard the host by nftables (does the kernel have nf_tables with inet?): %w", err)
	}
	return nil
}

// RemoveGuards removes the rules of the host that launchers made who have no slot any
// more: of this process, and of those that have ended. It returns their tables' names.
func RemoveGuards() (removed []string, err error) {
	c, err := nftables.New()
	if err != nil {
		return nil, fmt.Errorf("remove the host's rules: %w", err)
	}
	tables, err := c.ListTablesOfFamily(nftables.TableFamilyINet)
	if err != nil {
		return nil, fmt.Errorf("list the host's rules: %w", err)
	}
	var groups map[uint32]bool // of links that are there; nil: not asked
	for _, t := range tables {
		digits, ours := strings.CutPrefix(t.Name, guardPrefix)
		pid, err := strconv.Atoi(digits)
		if !ours || err != nil || pid != os.Getpid() && lives(pid) {
			continue
		}
		if groups == nil {
			if groups, err = groupsInUse(); err != nil {
				return removed, err
			}
		}
		if groups[groupOf(pid)] {
			continue
		}
		c.DelTable(t)
		if err := c.Flush(); errors.Is(err, unix.ENOENT) { // another has removed it
			continue
		} else if err != nil {
			return removed, fmt.Errorf("remove table %s: %w", t.Name, err)
		}
		removed = append(removed, t.Name)
	}
	return removed, nil
}

func lives(pid int) bool {
	p, err := proc.ProcessOf(pid)
	return err == nil && p.Alive()
}

func groupsInUse() (map[uint32]bool, error) {
	links, err := whole(netlink.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	groups := make(map[uint32]bool)
	for _, l := range links {
		groups[l.Attrs().Group] = true
	}
	return groups, nil
}
