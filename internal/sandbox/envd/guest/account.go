package guest

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"connectrpc.com/connect"
)

// rootPath is the search path of commands whose request sets none.
const rootPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// errUnknownUser is returned for a user that the sandbox does not have.
var errUnknownUser = errors.New("invalid username")

// account is a user of the sandbox.
type account struct {
	name, home string
	uid, gid   uint32
	groups     []uint32
}

// lookup finds a user by name. The error is errUnknownUser where there is none.
func lookup(name string) (account, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return account{}, fmt.Errorf("%w: '%s'", errUnknownUser, name)
	}
	return accountOf(u)
}

func accountOf(u *user.User) (account, error) {
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return account{}, fmt.Errorf("read user %s: %w", u.Username, err)
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return account{}, fmt.Errorf("read user %s: %w", u.Username, err)
	}
	a := account{name: u.Username, home: u.HomeDir, uid: uint32(uid), gid: uint32(gid)}
	ids, _ := u.GroupIds() // without /etc/group the user has its own group alone
	for _, id := range ids {
		if n, err := strconv.ParseUint(id, 10, 32); err == nil {
			a.groups = append(a.groups, uint32(n))
		}
	}
	return a, nil
}

// account returns whom a request acts for: the name of its Basic
// authorization, else /init's default, else "user", else root. A daemon that
// is not root serves its own user only.
func (s *Server) account(h http.Header) (account, error) {
	name, _, _ := (&http.Request{Header: h}).BasicAuth()
	return s.accountNamed(name)
}

// accountNamed is account for a name that came another way; empty is none.
func (s *Server) accountNamed(name string) (account, error) {
	if name == "" {
		name, _ = s.settings.defaults()
	}
	if name == "" {
		return defaultAccount()
	}
	a, err := lookup(name)
	if err != nil {
		return account{}, connect.NewError(connect.CodeUnauthenticated, err)
	}
	if me := os.Geteuid(); me != 0 && a.uid != uint32(me) {
		return account{}, connect.NewError(connect.CodePermissionDenied,
			fmt.Errorf("act as %s: the daemon is not root", name))
	}
	return a, nil
}

func defaultAccount() (account, error) {
	if os.Geteuid() == 0 {
		if a, err := lookup("user"); err == nil {
			return a, nil
		}
	}
	u, err := user.Current()
	if err != nil {
		return account{}, fmt.Errorf("look up own user: %w", err)
	}
	return accountOf(u)
}

// credential returns what a child must change to be the user; nil is nothing.
func (a account) credential() *syscall.Credential {
	if os.Geteuid() != 0 {
		return nil
	}
	return &syscall.Credential{Uid: a.uid, Gid: a.gid, Groups: a.groups}
}

// resolve makes a path of the user's absolute: "~" and relative ones start at
// home, an empty one is base, or home where base is empty too.
func (a account) resolve(path, base string) string {
	if path == "" {
		path = base
	}
	switch {
	case path == "" || path == "~":
		return a.home
	case strings.HasPrefix(path, "~/"):
		return filepath.Join(a.home, path[2:])
	case !filepath.IsAbs(path):
		return filepath.Join(a.home, path)
	}
	return filepath.Clean(path)
}
