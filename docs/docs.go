// Package docs holds the documents, for the agent to serve.
package docs

import "embed"

// Files are all documents in Markdown, by their path below docs/.
//
//go:embed *.md checks/*.md
var Files embed.FS
