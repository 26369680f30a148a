package filter

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"tapwatch/internal/netns"
	"tapwatch/internal/nettest"
)

// The kernel is asked whether the judge is right: rules at random, and a connection
// through them. FILTER_SEED and FILTER_COUNT choose others than the few of every run.
func TestAgainstTheKernel(t *testing.T) {
	w := newWire(t)
	seed, count := fromEnv("FILTER_SEED", rand.Uint64()), fromEnv("FILTER_COUNT", 30)
	t.Logf("FILTER_SEED=%d", seed)
	var sure, silent int
	for n := range count {
		r := rand.New(rand.NewPCG(seed, n))
		b := randomChain(r)
		ns, exchange := w.server, w.exchange
		if r.IntN(2) == 0 { // where the connection begins
			ns, exchange.In, exchange.Out = w.client, "", "eth0"
		}
		b.make(t, ns)
		f, _, err := ReadRules(ns, exchange.Packets(), nil)
		if err != nil {
			t.Fatal(err)
		}
		passes := w.passes(200 * time.Millisecond)
		switch {
		case len(f.Drops) > 0 && passes:
			t.Errorf("number %d: %+v is said to drop, and all passes: %q", n, b, f.Drops)
		case len(f.Drops) > 0:
			sure++
		case len(f.Partly)+len(f.NotJudged)+len(f.Redirects) > 0: // nothing is claimed
		case !passes && !w.passes(5*time.Second):
			t.Errorf("number %d: nothing is said of %s, and nothing passes", n, text(b))
		default:
			silent++
		}
		nettest.In(t, ns, func() error {
			c, err := nftables.New()
			if err != nil {
				return err
			}
			c.FlushRuleset()
			return c.Flush()
		})
	}
	t.Logf("of %d, %d were known to drop and %d to pass", count, sure, silent)
}

func fromEnv(name string, or uint64) uint64 {
	if n, err := strconv.ParseUint(os.Getenv(name), 10, 64); err == nil {
		return n
	}
	return or
}

// text shows a chain with its rules, for whoever reads a failure.
func text(b base) string {
	s := fmt.Sprintf("family %d hook %d kind %s policy %d", b.family, *b.hook, b.kind, b.policy)
	for _, list := range [][][]expr.Any{b.rules, b.other} {
		s += " |"
		for _, exprs := range list {
			for _, e := range exprs {
				s += fmt.Sprintf(" %T%+v", e, e)
			}
			s += ";"
		}
	}
	return s
}

// wire is a client and a server in namespaces of their own.
type wire struct {
	client, server string
	exchange       Exchange
}

const wirePort = 49983

func newWire(t *testing.T) wire {
	t.Helper()
	w := wire{client: nettest.Netns(t), server: nettest.Netns(t)}
	w.exchange = Exchange{Asks: "a request", Answers: "an answer", In: "eth0", User: &root,
		From: netip.MustParseAddrPort("10.12.0.2:0"), To: netip.AddrPortFrom(netip.MustParseAddr("10.12.0.3"), wirePort)}
	nettest.In(t, w.client, func() error {
		to, err := os.Open(netns.Path(w.server))
		if err != nil {
			return err
		}
		defer to.Close()
		veth := &netlink.Veth{PeerName: "eth0", PeerNamespace: netlink.NsFd(to.Fd())}
		veth.Name = "eth0"
		return netlink.LinkAdd(veth)
	})
	for ns, addr := range map[string]netip.Addr{w.client: w.exchange.From.Addr(), w.server: w.exchange.To.Addr()} {
		nettest.SetUp(t, ns, "eth0", true)
		nettest.In(t, ns, func() error {
			l, err := netlink.LinkByName("eth0")
			if err != nil {
				return err
			}
			return netlink.AddrAdd(l, &netlink.Addr{IPNet: &net.IPNet{IP: addr.AsSlice(), Mask: net.CIDRMask(31, 32)}})
		})
	}
	nettest.In(t, w.server, func() error {
		l, err := net.Listen("tcp4", w.exchange.To.String())
		if err != nil {
			return err
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() { // as long as a request is, and its answer
					defer c.Close()
					if _, err := io.ReadFull(c, make([]byte, 100)); err == nil {
						_, _ = c.Write(bytes.Repeat([]byte{'a'}, 100))
					}
				}()
			}
		}()
		return nil
	})
	if !w.passes(10 * time.Second) { // and both know each other's hardware address
		t.Fatal("nothing passes without a rule")
	}
	return w
}

// passes says whether a request is answered within that time.
func (w wire) passes(within time.Duration) bool {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	var c net.Conn
	err := netns.Do(w.client, func() (err error) {
		c, err = (&net.Dialer{}).DialContext(ctx, "tcp4", w.exchange.To.String())
		return err
	})
	if err != nil {
		return false
	}
	defer c.Close()
	end, _ := ctx.Deadline()
	_ = c.SetDeadline(end)
	_ = c.(*net.TCPConn).SetLinger(0) // nothing of it comes later
	if _, err := c.Write(bytes.Repeat([]byte{'r'}, 100)); err != nil {
		return false
	}
	_, err = io.ReadFull(c, make([]byte, 100))
	return err == nil
}

// randomChain is a chain at a hook that may be passed, with rules for it and for
// another chain that these may lead to.
func randomChain(r *rand.Rand) base {
	pick := func(n int) bool { return r.IntN(n) == 0 }
	b := base{kind: nftables.ChainTypeFilter, policy: nftables.ChainPolicy(1)}
	if pick(3) {
		b.policy = nftables.ChainPolicyDrop
	}
	if pick(5) {
		b.family, b.device = nftables.TableFamilyNetdev, "eth0"
		b.hook = nftables.ChainHookRef(nftables.ChainHook(r.IntN(2)))
		b.policy = nftables.ChainPolicyAccept // ARP passes too
	} else {
		b.family = []nftables.TableFamily{nftables.TableFamilyIPv4, nftables.TableFamilyINet}[r.IntN(2)]
		b.hook = nftables.ChainHookRef(nftables.ChainHook(r.IntN(5)))
		b.priority = nftables.ChainPriorityRef([]nftables.ChainPriority{-300, -150, 0, 50, 150}[r.IntN(5)])
	}
	for range 1 + r.IntN(4) {
		b.rules = append(b.rules, randomRule(r, b.family == nftables.TableFamilyNetdev, true))
	}
	for range r.IntN(4) {
		b.other = append(b.other, randomRule(r, b.family == nftables.TableFamilyNetdev, false))
	}
	return b
}

func randomRule(r *rand.Rand, device, jumps bool) (exprs []expr.Any) {
	if device { // what asks for more than IPv4 has is another's
		exprs = append(exprs, &expr.Meta{Key: expr.MetaKeyPROTOCOL, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{8, 0}})
	}
	for range 1 + r.IntN(2) {
		exprs = append(exprs, randomMatch(r, device)...)
	}
	kinds := []expr.VerdictKind{expr.VerdictDrop, expr.VerdictDrop, expr.VerdictAccept, expr.VerdictReturn}
	if jumps {
		kinds = append(kinds, expr.VerdictJump, expr.VerdictGoto)
	}
	v := &expr.Verdict{Kind: kinds[r.IntN(len(kinds))]}
	if v.Kind == expr.VerdictJump || v.Kind == expr.VerdictGoto {
		v.Chain = "other"
	}
	return append(exprs, v)
}

func randomMatch(r *rand.Rand, device bool) []expr.Any {
	op := []expr.CmpOp{expr.CmpOpEq, expr.CmpOpNeq}[r.IntN(2)]
	order := []expr.CmpOp{expr.CmpOpLt, expr.CmpOpLte, expr.CmpOpGt, expr.CmpOpGte, expr.CmpOpEq, expr.CmpOpNeq}[r.IntN(6)]
	of := func(load expr.Any, op expr.CmpOp, data ...byte) []expr.Any {
		return []expr.Any{load, &expr.Cmp{Op: op, Register: 1, Data: data}}
	}
	payload := func(base expr.PayloadBase, offset, length uint32) expr.Any {
		return &expr.Payload{DestRegister: 1, Base: base, Offset: offset, Len: length}
	}
	const network, transport = expr.PayloadBaseNetworkHeader, expr.PayloadBaseTransportHeader
	port := []uint16{22, 1000, 2000, 40000, wirePort, 65000}[r.IntN(6)]
	matches := []func() []expr.Any{
		func() []expr.Any {
			return of(&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, op, []byte{6, 17}[r.IntN(2)])
		},
		func() []expr.Any {
			return append(append([]expr.Any{}, tcp...), of(payload(transport, uint32(2*r.IntN(2)), 2), order, byte(port>>8), byte(port))...)
		},
		func() []expr.Any {
			return of(payload(network, uint32(12+4*r.IntN(2)), 4), op, 10, 12, 0, byte(1+r.IntN(4)))
		},
		func() []expr.Any { // a network
			return []expr.Any{payload(network, uint32(12+4*r.IntN(2)), 4), &expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: []byte{255, 255, 0, 0}, Xor: make([]byte, 4)},
				&expr.Cmp{Op: op, Register: 1, Data: []byte{10, byte(11 + r.IntN(2)), 0, 0}}}
		},
		func() []expr.Any {
			return []expr.Any{&expr.Meta{Key: []expr.MetaKey{expr.MetaKeyIIFNAME, expr.MetaKeyOIFNAME}[r.IntN(2)], Register: 1}, &expr.Cmp{Op: op, Register: 1, Data: ifname([]string{"eth0", "lo", ""}[r.IntN(3)])}}
		},
		func() []expr.Any { // flags of TCP
			mask := []byte{tcpSYN, tcpPSH, tcpACK, tcpSYN | tcpACK}[r.IntN(4)]
			return append(append([]expr.Any{}, tcp...), payload(transport, 13, 1), &expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 1, Mask: []byte{mask}, Xor: []byte{0}},
				&expr.Cmp{Op: op, Register: 1, Data: []byte{[]byte{0, mask, tcpSYN}[r.IntN(3)]}})
		},
		func() []expr.Any {
			return meta(expr.MetaKeyLEN, order, []uint32{30, 50, 90, 100, 140, 1000}[r.IntN(6)])
		},
		func() []expr.Any {
			return of(payload(network, 2, 2), order, 0, []byte{30, 50, 90, 100, 140}[r.IntN(5)])
		},
	}
	if !device {
		matches = append(matches,
			func() []expr.Any {
				state := []byte{ctInvalid, ctEstablished, ctNew, ctEstablished | ctNew}[r.IntN(4)]
				return []expr.Any{&expr.Ct{Key: expr.CtKeySTATE, Register: 1}, &expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: []byte{state, 0, 0, 0}, Xor: make([]byte, 4)},
					&expr.Cmp{Op: op, Register: 1, Data: make([]byte, 4)}}
			},
			func() []expr.Any { return of(&expr.Ct{Key: expr.CtKeyDIRECTION, Register: 1}, op, byte(r.IntN(2))) },
			func() []expr.Any { return meta(expr.MetaKeySKUID, expr.CmpOpEq, uint32(r.IntN(2))) },
			func() []expr.Any {
				return of(&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1}, op, []byte{unix.NFPROTO_IPV4, unix.NFPROTO_IPV6}[r.IntN(2)])
			},
			func() []expr.Any { return meta(expr.MetaKeyIIF, expr.CmpOpEq, uint32(r.IntN(3))) },
			func() []expr.Any { // the kind of the destination
				return []expr.Any{&expr.Fib{Register: 1, ResultADDRTYPE: true, FlagDADDR: true}, &expr.Cmp{Op: op, Register: 1, Data: binary.NativeEndian.AppendUint32(nil, uint32(1+r.IntN(2)))}}
			})
	}
	return matches[r.IntN(len(matches))]()
}
