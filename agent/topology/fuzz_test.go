package topology

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"tapwatch/internal/nlsafe"
)

// Whatever bytes come, they are read or refused.
func FuzzParse(f *testing.F) {
	f.Add(make([]byte, unix.SizeofIfInfomsg))
	f.Add(nlsafe.AppendAttr(make([]byte, unix.SizeofIfInfomsg), unix.IFLA_LINKINFO, nlsafe.AppendAttr(nil, unix.IFLA_INFO_KIND, []byte("tun"))))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, link := parseLink(b)
		_, address := nlsafe.ParseAddress(b, 0)
		_, route := nlsafe.ParseRoute(b)
		_, neighbour := parseNeighbour(b)
		for _, err := range []error{link, address, route, neighbour} {
			if err != nil && !errors.Is(err, nlsafe.ErrMalformed) {
				t.Error(err)
			}
		}
	})
}
