package guest

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"os"
	"path/filepath"
)

// errUpload is returned for a body that is not what its headers say.
var errUpload = errors.New("read upload")

// written is what POST /files answers of each file.
type written struct {
	Path string `json:"path"`
	Name string `json:"name"`
	Type string `json:"type"`
}

// upload writes the body's files: one as it is, or the parts of a form. Files
// and directories that are missing are made, and belong to the user.
func (s *Server) upload(w http.ResponseWriter, r *http.Request) {
	as, path, err := s.fileOf(r)
	var files []written
	if err == nil {
		files, err = receive(r, as, path)
	}
	if err != nil {
		writeFileError(w, err)
		return
	}
	writeJSON(w, http.StatusOK, files)
}

func receive(r *http.Request, as account, path string) ([]written, error) {
	body, err := plainBody(r)
	if err != nil {
		return nil, err
	}
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: content type: %w", errUpload, err)
	case kind == "multipart/form-data":
		return receiveForm(multipart.NewReader(body, params["boundary"]), as, path)
	case kind != "application/octet-stream":
		return nil, fmt.Errorf("%w: content type %s: must be multipart/form-data or application/octet-stream", errUpload, kind)
	case path == "":
		return nil, fmt.Errorf("%w: path is missing", errUpload)
	}
	file, err := as.write(path, body)
	if err != nil {
		return nil, err
	}
	return []written{file}, nil
}

// plainBody undoes the body's compression.
func plainBody(r *http.Request) (io.Reader, error) {
	switch encoding := r.Header.Get("Content-Encoding"); encoding {
	case "", "identity":
		return r.Body, nil
	case "gzip":
		z, err := gzip.NewReader(r.Body)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errUpload, err)
		}
		return z, nil
	default:
		return nil, fmt.Errorf("%w: content encoding %s: must be gzip or identity", errUpload, encoding)
	}
}

// receiveForm writes each part named "file", to path where there is one, else
// to the part's own file name.
func receiveForm(form *multipart.Reader, as account, path string) (files []written, err error) {
	for {
		part, err := form.NextPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errUpload, err)
		}
		if part.FormName() != "file" {
			continue
		}
		if path != "" && len(files) == 1 {
			return nil, fmt.Errorf("%w: several files for one path", errUpload)
		}
		to := path
		if to == "" {
			to = fullName(part)
		}
		file, err := as.write(to, part)
		if err != nil {
			return nil, err
		}
		files = append(files, file)
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%w: the form has no part named file", errUpload)
	}
	return files, nil
}

// fullName is part.FileName with its directories, which Go takes away.
func fullName(part *multipart.Part) string {
	_, params, err := mime.ParseMediaType(part.Header.Get("Content-Disposition"))
	if err != nil {
		return ""
	}
	return params["filename"]
}

// write makes or overwrites a file of the user's.
func (a account) write(path string, from io.Reader) (written, error) {
	if path == "" {
		return written{}, fmt.Errorf("%w: a file has no name", errUpload)
	}
	path = a.resolve(path, "")
	if st, err := os.Stat(path); err == nil && !st.Mode().IsRegular() {
		return written{}, fmt.Errorf("path '%s' %w", path, errNotFile)
	}
	if err := a.makeDirs(filepath.Dir(path)); err != nil {
		return written{}, err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o666)
	if err != nil {
		return written{}, err
	}
	_, err = io.Copy(f, from)
	if err = errors.Join(err, f.Close(), a.own(path)); err != nil {
		return written{}, fmt.Errorf("write '%s': %w", path, err)
	}
	return written{path, filepath.Base(path), "file"}, nil
}
