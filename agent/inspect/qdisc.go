package inspect

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"tapwatch/agent/path"
	"tapwatch/internal/nlsafe"
)

// from include/uapi/linux/pkt_sched.h and rtnetlink.h
const (
	sizeofTcmsg = 20

	tcaKind    = 1
	tcaOptions = 2

	tbfParms  = 1
	tbfRate64 = 4

	netemLoss      = 5
	netemRate      = 6
	netemRate64    = 8
	netemLatency64 = 10
	sizeofNetem    = 24 // struct tc_netem_qopt, before the attributes

	fqLimit      = 1
	fqMaxRate    = 7
	fqCodelLimit = 2

	tick = 64 * time.Nanosecond // PSCHED_SHIFT of include/net/pkt_sched.h
)

// harmless are kinds that hold no frame back and have no others below them.
var harmless = []string{"noqueue", "pfifo_fast", "clsact", "ingress"}

// qdiscs adds the queueing disciplines of a device that may delay or drop, if its root
// is none that every device has: the kernel lists those of all devices of the namespace,
// which in the host's may be thousands.
func (a *asker) qdiscs(device, root string, host bool, to *[]path.Qdisc) error {
	if *to == nil {
		*to = []path.Qdisc{} // none is known to be none
	}
	if slices.Contains(harmless, root) || host && root == "fq_codel" {
		return nil
	}
	i, err := a.index(device)
	if err != nil {
		return fmt.Errorf("find %s: %w", device, err)
	}
	body := make([]byte, sizeofTcmsg)
	binary.NativeEndian.PutUint32(body[4:], i)
	ms, err := a.conn.Dump(unix.RTM_GETQDISC, body)
	if err != nil {
		return fmt.Errorf("read the qdiscs of %s: %w", device, err)
	}
	for _, m := range ms {
		if len(m.Body) < sizeofTcmsg || binary.NativeEndian.Uint32(m.Body[4:]) != i {
			continue
		}
		q, err := parseQdisc(m.Body[sizeofTcmsg:])
		if err != nil {
			return fmt.Errorf("read the qdiscs of %s: %w", device, err)
		}
		if !slices.Contains(harmless, q.Kind) {
			q.Device, q.Host = device, host
			*to = append(*to, q)
		}
	}
	return nil
}

// parseQdisc reads the attributes of RTM_NEWQDISC. The options of kinds that are not
// known here are passed over.
func parseQdisc(attrs []byte) (q path.Qdisc, err error) {
	var options []byte
	err = nlsafe.EachAttr(attrs, func(typ uint16, v []byte) error {
		switch typ {
		case tcaKind:
			q.Kind = unix.ByteSliceToString(v)
		case tcaOptions:
			options = v
		}
		return nil
	})
	if err != nil {
		return q, err
	}
	switch q.Kind {
	case "pfifo", "pfifo_head_drop":
		q.Limit, err = nlsafe.Uint32(options) // struct tc_fifo_qopt
	case "blackhole":
		q.Loss = 1
	case "tbf":
		err = parseTBF(options, &q)
	case "netem":
		err = parseNetem(options, &q)
	case "fq":
		err = nlsafe.EachAttr(options, func(typ uint16, v []byte) (err error) {
			var rate uint32
			switch typ {
			case fqLimit:
				q.Limit, err = nlsafe.Uint32(v)
			case fqMaxRate:
				rate, err = nlsafe.Uint32(v)
				q.Rate = limited(uint64(rate))
			}
			return err
		})
	case "fq_codel":
		err = nlsafe.EachAttr(options, func(typ uint16, v []byte) (err error) {
			if typ == fqCodelLimit {
				q.Limit, err = nlsafe.Uint32(v)
			}
			return err
		})
	}
	return q, err
}

// limited is a rate in 32 bits, of which all say that there is no limit.
func limited(rate uint64) uint64 {
	if rate == 1<<32-1 {
		return 0
	}
	return rate
}

// parseTBF reads struct tc_tbf_qopt, in which rates are struct tc_ratespec of 12 bytes,
// the rate at their end. The bucket's depth is a time at that rate.
func parseTBF(options []byte, q *path.Qdisc) error {
	const rate, buffer, size = 8, 28, 36
	var ticks uint32
	err := nlsafe.EachAttr(options, func(typ uint16, v []byte) error {
		switch {
		case typ == tbfParms && len(v) >= size:
			q.Rate = max(q.Rate, uint64(binary.NativeEndian.Uint32(v[rate:])))
			ticks = binary.NativeEndian.Uint32(v[buffer:])
		case typ == tbfRate64 && len(v) >= 8:
			q.Rate = max(q.Rate, binary.NativeEndian.Uint64(v))
		}
		return nil
	})
	q.Burst = uint64(float64(q.Rate) * (time.Duration(ticks) * tick).Seconds())
	return err
}

// parseNetem reads struct tc_netem_qopt and what follows it.
func parseNetem(options []byte, q *path.Qdisc) error {
	if len(options) < sizeofNetem {
		return fmt.Errorf("%w: %d bytes of netem", nlsafe.ErrMalformed, len(options))
	}
	q.Delay = time.Duration(binary.NativeEndian.Uint32(options)) * tick
	q.Limit = binary.NativeEndian.Uint32(options[4:])
	q.Loss = float64(binary.NativeEndian.Uint32(options[8:])) / (1<<32 - 1)
	return nlsafe.EachAttr(options[sizeofNetem:], func(typ uint16, v []byte) error {
		switch {
		case typ == netemLatency64 && len(v) >= 8:
			q.Delay = time.Duration(binary.NativeEndian.Uint64(v))
		case typ == netemRate && len(v) >= 4:
			q.Rate = max(q.Rate, limited(uint64(binary.NativeEndian.Uint32(v))))
		case typ == netemRate64 && len(v) >= 8:
			q.Rate = max(q.Rate, binary.NativeEndian.Uint64(v))
		case typ == netemLoss:
			return parseLossModel(v, q)
		}
		return nil
	})
}

// parseLossModel reads the loss of a Gilbert-Elliott model in the long run: struct
// tc_netem_gemodel has the chances to get into the bad state, to get out of it, to get
// through in it, and to be lost in the good one.
func parseLossModel(v []byte, q *path.Qdisc) error {
	const gilbertElliott = 2
	return nlsafe.EachAttr(v, func(typ uint16, v []byte) error {
		if typ != gilbertElliott || len(v) < 16 {
			return nil
		}
		chance := func(at int) float64 { return float64(binary.NativeEndian.Uint32(v[at:])) / (1<<32 - 1) }
		p, r, h, k := chance(0), chance(4), chance(8), chance(12)
		if p+r > 0 {
			q.Loss = max(q.Loss, p/(p+r)*(1-h)+r/(p+r)*k)
		}
		return nil
	})
}
