package probe

import (
	"bytes"
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"

	"tapwatch/bpf"
	"tapwatch/internal/ktime"
	"tapwatch/internal/nlsafe"
)

// perCPU decodes as many values as the bytes have, as a map's lookup does.
func perCPU[T any](raw []byte) (values []T) {
	var v T
	size := binary.Size(v)
	for ; len(raw) >= size; raw = raw[size:] {
		if _, err := binary.Decode(raw, binary.NativeEndian, &v); err != nil {
			return values
		}
		values = append(values, v)
	}
	return values
}

// Whatever lies in the map of drops, none is lost or doubled, and no reason is
// named twice.
func FuzzDrops(f *testing.F) {
	one := make([]byte, binary.Size(bpf.TapDrops{}))
	one[0], one[8] = 3, 5
	f.Add(one)
	f.Add(bytes.Repeat(one, 2))
	f.Fuzz(func(t *testing.T, raw []byte) {
		values := perCPU[bpf.TapDrops](raw)
		var want uint64
		for _, v := range values {
			want += v.Other
			for _, o := range v.Of {
				want += o.Count
			}
		}
		l := &losses{names: map[uint32]string{5: "FIVE"}}
		d := l.sum(values)
		if d.total() != want {
			t.Errorf("%d drops, want %d", d.total(), want)
		}
		seen := map[string]bool{}
		for _, r := range d {
			if r.Reason != "" && seen[r.Reason] {
				t.Errorf("%s is there twice", r.Reason)
			}
			seen[r.Reason] = true
		}
	})
}

// Whatever lies in the map of counters, sums are sums and times the latest.
func FuzzCounters(f *testing.F) {
	one := make([]byte, binary.Size(bpf.TapStats{}))
	for i := range one {
		one[i] = byte(i)
	}
	f.Add(one)
	f.Add(bytes.Repeat(one, 2))
	f.Fuzz(func(t *testing.T, raw []byte) {
		values := perCPU[bpf.TapStats](raw)
		c := sum(values)
		var want Counters
		for _, v := range values {
			want.ReceivePackets += v.Packets[bpf.TapDirectionRECEIVE]
			want.Resets[ResetByKernel] += v.Resets[bpf.TapOriginORIGIN_KERNEL]
			want.Created = max(want.Created, ktime.Moment(v.Created))
			want.LastReceive = max(want.LastReceive, ktime.Moment(v.LastReceive))
		}
		if c.ReceivePackets != want.ReceivePackets || c.Resets[ResetByKernel] != want.Resets[ResetByKernel] ||
			c.Created != want.Created || c.LastReceive != want.LastReceive {
			t.Errorf("%+v, want %+v", c, want)
		}
	})
}

// FuzzRemoves reads datagrams of RTNLGRP_TC.
func FuzzRemoves(f *testing.F) {
	options := nlsafe.AppendAttr(nil, unix.TCA_OPTIONS, nlsafe.AppendAttr(nil, 7, []byte("tapwatch_rx,owner=000000000001\x00")))
	f.Add(uint16(unix.RTM_NEWTFILTER), append(make([]byte, sizeofTcmsg, 100), options...))
	f.Add(uint16(unix.RTM_DELQDISC), make([]byte, sizeofTcmsg))
	f.Fuzz(func(t *testing.T, typ uint16, body []byte) {
		if i, ok := removes(typ, body, 1); ok && len(body) < sizeofTcmsg {
			t.Errorf("%d bytes tell of device %d", len(body), i)
		}
	})
}
