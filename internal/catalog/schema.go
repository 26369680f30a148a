package catalog

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// schema is which tables and columns there are: "table.column". E2B's has changed
// over time, and hosts run what they run.
type schema map[string]bool

func readSchema(ctx context.Context, tx pgx.Tx) (schema, error) {
	rows, err := tx.Query(ctx, `SELECT table_name || '.' || column_name FROM information_schema.columns
		WHERE table_schema = ANY (current_schemas(false))
		AND table_name IN ('envs', 'env_aliases', 'env_builds', 'env_build_assignments')`)
	if err != nil {
		return nil, err
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, err
	}
	s := schema{}
	for _, n := range names {
		s[n] = true
	}
	for _, need := range []string{"envs.id", "env_aliases.alias", "env_aliases.env_id", "env_builds.id"} {
		if !s[need] {
			return nil, fmt.Errorf("%w: no column %s", ErrSchema, need)
		}
	}
	if !s["env_build_assignments.build_id"] && !s["env_builds.env_id"] {
		return nil, fmt.Errorf("%w: nothing leads from a template to its builds", ErrSchema)
	}
	return s, nil
}

// find goes from the name to the template, and from there to its build.
func (s schema) find(ctx context.Context, tx pgx.Tx, n name) (Entry, error) {
	id, err := s.template(ctx, tx, n)
	if err != nil {
		return Entry{}, err
	}
	if s["env_build_assignments.build_id"] {
		e, err := s.build(ctx, tx, "JOIN env_build_assignments a ON a.build_id = b.id WHERE a.env_id = $1 AND a.tag = $2", id, n.tag)
		if !errors.Is(err, ErrNotFound) || !s["env_builds.env_id"] || n.tag != "default" {
			return e, err
		}
	}
	// Before there were assignments, a build named its template itself.
	return s.build(ctx, tx, "WHERE b.env_id = $1", id)
}

// template returns the id of the template of a name. An alias wins over an id.
func (s schema) template(ctx context.Context, tx pgx.Tx, n name) (string, error) {
	alive := ""
	if s["envs.deleted_at"] {
		alive = " AND e.deleted_at IS NULL"
	}
	query, args := `SELECT DISTINCT e.id::text FROM env_aliases a JOIN envs e ON e.id = a.env_id WHERE a.alias = $1`+alive, []any{n.alias}
	if n.namespace != "" {
		if !s["env_aliases.namespace"] {
			return "", fmt.Errorf("%w: this database knows no namespaces", ErrNotFound)
		}
		query, args = query+` AND a.namespace = $2`, append(args, n.namespace)
	}
	ids, err := collect(ctx, tx, query, args...)
	if err == nil && len(ids) == 0 && n.namespace == "" {
		ids, err = collect(ctx, tx, `SELECT e.id::text FROM envs e WHERE e.id::text = $1`+alive, n.alias)
	}
	switch {
	case err != nil:
		return "", err
	case len(ids) == 0:
		return "", fmt.Errorf("%w: no template of this alias or id", ErrNotFound)
	case len(ids) > 1:
		return "", fmt.Errorf("%w: %s: name it by namespace/alias or by id", ErrAmbiguous, strings.Join(ids, ", "))
	}
	return ids[0], nil
}

func collect(ctx context.Context, tx pgx.Tx, query string, args ...any) ([]string, error) {
	rows, err := tx.Query(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// build returns the newest ready build among those that the clause selects.
func (s schema) build(ctx context.Context, tx pgx.Tx, clause, id string, more ...any) (Entry, error) {
	e := Entry{TemplateID: id}
	query := fmt.Sprintf(`SELECT b.id::text, %s, %s, %s FROM env_builds b %s%s ORDER BY %s LIMIT 1`,
		s.column("kernel_version"), s.column("firecracker_version"), s.column("envd_version"), clause, s.ready(), s.newest(len(more) > 0))
	err := tx.QueryRow(ctx, query, append([]any{id}, more...)...).Scan(&e.BuildID, &e.Kernel, &e.Firecracker, &e.Envd)
	if errors.Is(err, pgx.ErrNoRows) {
		return Entry{}, fmt.Errorf("%w: template %s has no ready build", ErrNotFound, id)
	}
	return e, err
}

// column reads a column of env_builds that may be absent or null.
func (s schema) column(name string) string {
	if !s["env_builds."+name] {
		return "''"
	}
	return "coalesce(b." + name + "::text, '')"
}

// ready keeps builds that were finished, in the words of the schema.
func (s schema) ready() string {
	switch {
	case s["env_builds.status_group"]:
		return " AND b.status_group::text = 'ready'"
	case s["env_builds.status"]:
		return " AND b.status::text IN ('uploaded', 'success', 'ready')"
	}
	return ""
}

// newest orders builds: by when the tag was given to them, where that is known.
func (s schema) newest(assigned bool) string {
	switch {
	case assigned && s["env_build_assignments.created_at"]:
		return "a.created_at DESC"
	case s["env_builds.created_at"]:
		return "b.created_at DESC"
	}
	return "b.id DESC"
}
