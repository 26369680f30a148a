// Package catalog names templates through E2B's database: from an alias to the
// build that its sandboxes boot. It only reads.
package catalog

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

var (
	// ErrNotFound is returned for a name that no template has, or whose template
	// has no build that is ready.
	ErrNotFound = errors.New("not in the catalog")
	// ErrAmbiguous is returned for an alias that several templates have.
	ErrAmbiguous = errors.New("several templates have this alias")
	// ErrSchema is returned where the database is not one that this package knows.
	ErrSchema = errors.New("not a schema of E2B's that is known")
)

// Entry is the build that a name stands for. What the database does not say is empty.
type Entry struct {
	TemplateID  string
	BuildID     string
	Kernel      string
	Firecracker string
	Envd        string
}

// timeout bounds a look-up, the connection included.
const timeout = 15 * time.Second

// Catalog is a connection to the database. It is not for use by several at once.
type Catalog struct {
	conn   *pgx.Conn
	schema schema
}

// Open connects to a postgres:// URL, and sees which of E2B's schemas is there.
func Open(ctx context.Context, url string) (*Catalog, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("open catalog: %w", err)
	}
	// Poolers before the database keep no prepared statements.
	cfg.DefaultQueryExecMode = pgx.QueryExecModeExec
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("open catalog: %w", err)
	}
	c := &Catalog{conn: conn}
	if err := c.read(ctx, func(tx pgx.Tx) (err error) { c.schema, err = readSchema(ctx, tx); return err }); err != nil {
		return nil, errors.Join(fmt.Errorf("open catalog: %w", err), c.Close())
	}
	return c, nil
}

// Close ends the connection.
func (c *Catalog) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return c.conn.Close(ctx)
}

// Find returns the newest ready build of a template: by alias, namespace/alias or
// template id, with :tag for another tag than default.
func (c *Catalog) Find(ctx context.Context, name string) (Entry, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var e Entry
	err := c.read(ctx, func(tx pgx.Tx) (err error) { e, err = c.schema.find(ctx, tx, parseName(name)); return err })
	if err != nil {
		return Entry{}, fmt.Errorf("find %s: %w", name, err)
	}
	return e, nil
}

// read runs queries in a transaction that cannot write.
func (c *Catalog) read(ctx context.Context, do func(pgx.Tx) error) error {
	return pgx.BeginTxFunc(ctx, c.conn, pgx.TxOptions{AccessMode: pgx.ReadOnly}, do)
}

// name is what an operator calls a template.
type name struct{ namespace, alias, tag string }

func parseName(text string) name {
	n := name{alias: text, tag: "default"}
	if before, tag, ok := strings.Cut(n.alias, ":"); ok {
		n.alias, n.tag = before, tag
	}
	if ns, alias, ok := strings.Cut(n.alias, "/"); ok {
		n.namespace, n.alias = ns, alias
	}
	return n
}
