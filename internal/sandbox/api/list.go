package api

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"tapwatch/internal/registry"
	"tapwatch/internal/sandbox"
)

// maxPage is the most, and the default number, of sandboxes in one answer.
const maxPage = 100

// tokenHeader carries where the next page starts; the last page has none.
const tokenHeader = "x-next-token"

// query says which sandboxes are wanted, and in which order.
type query struct {
	metadata     map[string]string
	states       []registry.State // none: all
	template     string
	startedAfter time.Time
	ascending    bool // by time of creation; else the newest come first
	limit        int  // 0: all
	after        position
}

// position is where in the order a page ends; it stays good while sandboxes come and go.
type position struct {
	at time.Time
	id string
}

func (s *server) list(paged bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		q, err := parseQuery(r.URL.Query(), paged)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		page, next := q.pick(s.cfg.Manager.List())
		if next != "" {
			w.Header().Set(tokenHeader, next)
		}
		list := make([]listed, 0, len(page))
		for _, sb := range page {
			list = append(list, listedOf(sb))
		}
		answer(w, http.StatusOK, list)
	}
}

func parseQuery(v url.Values, paged bool) (q query, err error) {
	if q.metadata, err = parseMetadata(v.Get("metadata")); err != nil {
		return q, err
	}
	if q.states, err = parseStates(v["state"]); err != nil {
		return q, err
	}
	q.template = v.Get("template")
	if after := v.Get("startedAfter"); after != "" {
		if q.startedAfter, err = time.Parse(time.RFC3339, after); err != nil {
			return q, badRequestf("startedAfter: %.40q is no time as in RFC 3339", after)
		}
	}
	switch order := v.Get("order"); order {
	case "", "desc":
	case "asc":
		q.ascending = true
	default:
		return q, badRequestf("order: %.20q is neither asc nor desc", order)
	}
	if !paged {
		return q, nil
	}
	q.limit = maxPage
	if limit := v.Get("limit"); limit != "" {
		q.limit, err = strconv.Atoi(limit)
		if err != nil || q.limit < 1 || q.limit > maxPage {
			return q, badRequestf("limit: %.20q is not between 1 and %d", limit, maxPage)
		}
	}
	q.after, err = parseToken(v.Get("nextToken"))
	return q, err
}

// parseMetadata takes "key=value&..." apart, each side of which the SDK has
// escaped once more.
func parseMetadata(s string) (map[string]string, error) {
	pairs, err := url.ParseQuery(s)
	want := map[string]string{}
	for k, v := range pairs {
		if err == nil {
			k, err = url.PathUnescape(k)
		}
		if err == nil {
			want[k], err = url.PathUnescape(v[0])
		}
	}
	if err != nil {
		return nil, badRequestf("metadata: %v", err)
	}
	return want, nil
}

// parseStates takes a repeated or comma-separated parameter.
func parseStates(values []string) (states []registry.State, err error) {
	for _, name := range strings.Split(strings.Join(values, ","), ",") {
		switch name {
		case "":
		case string(registry.Booting), string(registry.Running), string(registry.Failed), "paused": // of which there are none
			states = append(states, registry.State(name))
		default:
			return nil, badRequestf("state: %.20q is none of running, paused, booting and failed", name)
		}
	}
	return states, nil
}

// pick returns the page and the token of the next, which is empty after the last.
func (q query) pick(all []sandbox.Sandbox) (page []sandbox.Sandbox, next string) {
	all = slices.DeleteFunc(slices.Clone(all), func(sb sandbox.Sandbox) bool { return !q.wants(sb) })
	slices.SortFunc(all, func(a, b sandbox.Sandbox) int { return q.compare(positionOf(a), positionOf(b)) })
	if q.limit > 0 && len(all) > q.limit {
		all = all[:q.limit]
		next = positionOf(all[q.limit-1]).token()
	}
	return all, next
}

func (q query) wants(sb sandbox.Sandbox) bool {
	for k, v := range q.metadata {
		if got, ok := sb.Metadata[k]; !ok || got != v {
			return false
		}
	}
	return (len(q.states) == 0 || slices.Contains(q.states, sb.State)) &&
		(q.template == "" || q.template == sb.TemplateID || q.template == sb.Alias) &&
		sb.CreatedAt.After(q.startedAfter) &&
		(q.after == position{} || q.compare(positionOf(sb), q.after) > 0)
}

func (q query) compare(a, b position) int {
	c := cmp.Or(a.at.Compare(b.at), strings.Compare(a.id, b.id))
	if q.ascending {
		return c
	}
	return -c
}

func positionOf(sb sandbox.Sandbox) position {
	return position{time.Unix(0, sb.CreatedAt.UnixNano()), sb.ID}
}

func (p position) token() string {
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%d %s", p.at.UnixNano(), p.id))
}

func parseToken(s string) (position, error) {
	if s == "" {
		return position{}, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(s)
	at, id, ok := strings.Cut(string(b), " ")
	nanos, numErr := strconv.ParseInt(at, 10, 64)
	if err != nil || !ok || numErr != nil {
		return position{}, badRequestf("nextToken: %.40q is none that was given out", s)
	}
	return position{time.Unix(0, nanos), id}, nil
}
