package guest

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"os"
	"path/filepath"
	"syscall"

	"connectrpc.com/connect"
)

// errNotFile is returned for what is there and no regular file.
var errNotFile = errors.New("is not a file")

// download answers GET /files with the file's content; ranges are served.
func (s *Server) download(w http.ResponseWriter, r *http.Request) {
	as, path, err := s.fileOf(r)
	if err != nil {
		writeFileError(w, err)
		return
	}
	f, err := openFile(as.resolve(path, ""))
	if err != nil {
		writeFileError(w, err)
		return
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		writeFileError(w, err)
		return
	}
	name := mime.FormatMediaType("inline", map[string]string{"filename": st.Name()})
	w.Header().Set("Content-Disposition", name)
	w.Header().Set("Cache-Control", "no-cache")
	w.Header().Set("Content-Type", "application/octet-stream") // whatever it is: it is not for browsers to show
	if st.Size() == 0 {                                        // or of a size that is not known, as in /proc
		_, _ = io.Copy(w, f) // fails only where the client has gone, or too late to tell
		return
	}
	http.ServeContent(w, r, st.Name(), st.ModTime(), f)
}

// openFile opens a regular file. Others are not even opened: that may block for ever.
func openFile(path string) (*os.File, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("path '%s' %w", path, errNotFile)
	}
	return os.Open(path)
}

// fileOf returns whose and which file a request is about.
func (s *Server) fileOf(r *http.Request) (account, string, error) {
	q := r.URL.Query()
	name := q.Get("username")
	if name == "" {
		name, _, _ = r.BasicAuth()
	}
	as, err := s.accountNamed(name)
	return as, q.Get("path"), err
}

// writeFileError answers with the status that clients know an error by.
func writeFileError(w http.ResponseWriter, err error) {
	code := http.StatusInternalServerError
	var large *http.MaxBytesError
	switch {
	case connect.CodeOf(err) == connect.CodeUnauthenticated:
		code = http.StatusUnauthorized
	case connect.CodeOf(err) == connect.CodePermissionDenied, errors.Is(err, fs.ErrPermission):
		code = http.StatusForbidden
	case errors.Is(err, fs.ErrNotExist):
		code = http.StatusNotFound
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		code = http.StatusInsufficientStorage
	case errors.Is(err, errNotFile), errors.Is(err, errUpload), errors.Is(err, syscall.ENOTDIR),
		errors.Is(err, syscall.EISDIR), errors.Is(err, syscall.ENAMETOOLONG), errors.As(err, &large):
		code = http.StatusBadRequest
	}
	writeError(w, code, err.Error())
}

// makeDirs makes a directory and what is missing above it, the user's own.
func (a account) makeDirs(dir string) error {
	st, err := os.Stat(dir)
	if err == nil && !st.IsDir() {
		return &fs.PathError{Op: "mkdir", Path: dir, Err: syscall.ENOTDIR}
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err // nil: it is there
	}
	if err := a.makeDirs(filepath.Dir(dir)); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return a.own(dir)
}

// own gives a file to the user, where the daemon may.
func (a account) own(path string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	return os.Lchown(path, int(a.uid), int(a.gid))
}
