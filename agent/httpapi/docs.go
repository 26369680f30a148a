package httpapi

import (
	"bytes"
	"cmp"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"strings"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/renderer/html"
	"github.com/yuin/goldmark/text"

	"tapwatch/docs"
)

// document is the page of one document. Its links are relative: a proxy may serve the
// agent below a path.
var document = template.Must(template.New("").Parse(`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{.Title}} - Tapwatch</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="../ui/style.css">
</head>
<body>
<main class="document">
<nav><a href="../">Sandboxes</a> <a href="../checks/">All checks</a></nav>
{{.Body}}</main>
</body>
</html>
`))

var markdown = goldmark.New(
	goldmark.WithExtensions(extension.GFM),
	goldmark.WithParserOptions(parser.WithAutoHeadingID()),
	goldmark.WithRendererOptions(html.WithUnsafe()), // comments; the documents are ours
)

// document answers the document of docs/ that the address names as HTML: the pages of
// checks at /checks/CODE, the others at /docs/NAME.
func (a *api) document(w http.ResponseWriter, r *http.Request) {
	dir, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	name := path.Join(strings.TrimPrefix(dir, "docs"), cmp.Or(r.PathValue("name"), "README")+".md")
	status := http.StatusOK
	source, err := docs.Files.ReadFile(name)
	if err != nil {
		status, source = http.StatusNotFound, []byte(noDocument)
	}
	title, body, err := render(name, source)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	secure(w)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	// The client has gone away if this fails; there is nobody left to tell.
	_ = document.Execute(w, map[string]any{"Title": title, "Body": body})
}

const noDocument = `# There is no such page

This version of Tapwatch has no check and no document of that name. "All checks" above lists what it can find.
`

// render makes HTML of a document, whose links then lead to pages of the agent, and
// so do the codes of checks.
func render(name string, source []byte) (title string, body template.HTML, err error) {
	root := markdown.Parser().Parse(text.NewReader(source))
	var beyond []*ast.Link
	var codes []*ast.CodeSpan
	err = ast.Walk(root, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		switch n := n.(type) {
		case *ast.Heading:
			if title == "" {
				title = string(n.Lines().Value(source))
			}
		case *ast.CodeSpan:
			if _, linked := n.Parent().(*ast.Link); entering && !linked && isCheck(codeOf(n, source)) {
				codes = append(codes, n)
			}
		case *ast.Link:
			if !entering {
				break
			}
			if to := address(name, string(n.Destination)); to != "" {
				n.Destination = []byte(to)
			} else {
				beyond = append(beyond, n)
			}
		}
		return ast.WalkContinue, nil
	})
	if err != nil {
		return "", "", err
	}
	for _, n := range codes { // each leads to its page
		link := ast.NewLink()
		link.Destination = []byte("../checks/" + codeOf(n, source))
		n.Parent().ReplaceChild(n.Parent(), n, link)
		link.AppendChild(link, n)
	}
	for _, n := range beyond { // their words stay
		for c := n.FirstChild(); c != nil; c = n.FirstChild() {
			n.Parent().InsertBefore(n.Parent(), n, c)
		}
		n.Parent().RemoveChild(n.Parent(), n)
	}
	var b bytes.Buffer
	err = markdown.Renderer().Render(&b, source, root)
	return title, template.HTML(b.String()), err //nolint:gosec // our own documents, and the renderer escapes
}

// codeOf is the text of a code span.
func codeOf(n *ast.CodeSpan, source []byte) string {
	var b strings.Builder
	for c := n.FirstChild(); c != nil; c = c.NextSibling() {
		if t, ok := c.(*ast.Text); ok {
			b.Write(t.Value(source))
		}
	}
	return b.String()
}

func isCheck(code string) bool {
	_, err := fs.Stat(docs.Files, "checks/"+code+".md")
	return err == nil && code != "README"
}

// address is where the agent serves what a document links to, seen from its page, empty
// where it does not. All pages are one directory deep.
func address(from, link string) string {
	file, fragment, found := strings.Cut(link, "#")
	if file == "" || strings.Contains(file, ":") {
		return link
	}
	to := path.Join(path.Dir(from), file)
	dir, name := path.Split(strings.TrimSuffix(to, ".md"))
	switch {
	case to == "checks" || to == "checks/README.md":
		dir, name = "checks/", ""
	case dir == "" && path.Ext(to) == ".md":
		dir = "docs/"
	case dir != "checks/":
		return ""
	}
	if found {
		fragment = "#" + fragment
	}
	return "../" + dir + name + fragment
}
