// The table of sandboxes. Only the rows that are in sight are in the document.
import { html, useState, useEffect, useRef, useMemo } from "./vendor/htm-preact.js";
import { store, useStore } from "./store.js";
import { set, go } from "./query.js";
import { State } from "./parts.js";
import { at } from "./format.js";

const rank = { broken: 0, unknown: 1, booting: 2, paused: 3, ok: 4, idle: 5, unidentified: 6 };
const hops = ["proxy", "relay", "tap", "guest", "envd"];
const columns = [
  { id: "state", name: "State", by: (r) => rank[r.state] },
  { id: "name", name: "Sandbox", by: (r) => r.name || r.id },
  { id: "netns", name: "Namespace", by: (r) => r.netns },
  { id: "template", name: "Template", by: (r) => r.template || "" },
  { id: "since", name: "Since", by: (r) => r.since || "" },
  { id: "text", name: "Cause", by: (r) => r.text || "" },
];
const text = new Intl.Collator(undefined, { numeric: true });
const compare = (a, b) => (typeof a === "number" ? a - b : text.compare(a, b));
const beyond = 8; // rows that are drawn above and below those in sight

let counted = { version: -1 };
// counts is how many sandboxes are in each state.
export function counts() {
  if (counted.version !== store.version) {
    const n = { all: 0 };
    for (const r of store.rows.values()) {
      if (!r.id || r.state === "idle") continue;
      n[r.state] = (n[r.state] || 0) + 1;
      n.all++;
    }
    counted = { version: store.version, n };
  }
  return counted.n;
}

function choose(query) {
  const words = (query.q || "").toLowerCase().split(/\s+/).filter(Boolean);
  const col = columns.find((c) => c.id === query.sort) || columns[0];
  const way = query.dir === "desc" ? -1 : 1;
  const bound = [], idle = [], others = [];
  for (const r of store.rows.values()) {
    if (!r.id) { (r.state === "idle" ? idle : others).push(r); continue; }
    if ((!query.state || r.state === query.state) && (!query.hop || r.hop === query.hop) && (!query.code || (r.codes || []).includes(query.code)) &&
      (!query.template || r.template === query.template) && words.every((w) => r.find.includes(w))) bound.push(r);
  }
  bound.sort((a, b) => way * compare(col.by(a), col.by(b)) || compare(a.name || a.id, b.name || b.id) || compare(a.key, b.key));
  return { bound, idle, others };
}

function options() {
  const codes = new Set(), templates = new Set(), states = new Set();
  for (const r of store.rows.values()) {
    if (!r.id) continue;
    states.add(r.state);
    (r.codes || []).forEach((c) => codes.add(c));
    if (r.template) templates.add(r.template);
  }
  return { state: [...states].sort((a, b) => rank[a] - rank[b]), hop: hops, code: [...codes].sort(), template: [...templates].sort() };
}

function Filters({ query, shown, all }) {
  const has = useMemo(options, [store.version]);
  const put = (key, value) => set({ ...query, [key]: value }, true);
  const any = ["q", "state", "hop", "code", "template"].some((k) => query[k]);
  return html`<form class="filters" role="search" onSubmit=${(e) => e.preventDefault()}>
    <input type="search" aria-label="Filter by text" placeholder="Filter by text  ( / )" value=${query.q || ""} onInput=${(e) => put("q", e.target.value)}/>
    ${["state", "hop", "code", "template"].map((k) => html`<select key=${k} aria-label=${"Filter by " + k} value=${query[k] || ""} onChange=${(e) => put(k, e.target.value)}>
      <option value="">any ${k}</option>
      ${(has[k].includes(query[k]) || !query[k] ? has[k] : [...has[k], query[k]]).map((v) => html`<option key=${v} value=${v} selected=${v === query[k]}>${v}</option>`)}</select>`)}
    <span class="dim" role="status">${shown === all ? all + " sandboxes" : shown + " of " + all + " sandboxes"}</span>
    ${any ? html`<button type="button" onClick=${() => set({ sort: query.sort, dir: query.dir }, true)}>Clear</button>` : ""}
  </form>`;
}

let keptScroll = 0, keptKey = ""; // while one sandbox is looked at

export function Table({ query }) {
  useStore();
  const { bound, idle, others } = useMemo(() => choose(query), [store.version, JSON.stringify(query)]);
  const box = useRef(), [top, setTop] = useState(keptScroll), [height, setHeight] = useState(600);
  const narrow = useMedia("(max-width: 50rem)");
  const each = narrow ? 58 : 34; // px, as the style sheet has it
  const [key, setKey] = useState(keptKey);
  keptKey = key;

  useEffect(() => {
    const el = box.current;
    el.scrollTop = keptScroll;
    const size = new ResizeObserver(() => setHeight(el.clientHeight));
    size.observe(el);
    const slash = (e) => {
      if (e.key !== "/" || /^(INPUT|SELECT|TEXTAREA)$/.test(e.target.tagName)) return;
      e.preventDefault();
      document.querySelector(".filters input").focus();
    };
    document.addEventListener("keydown", slash);
    return () => { size.disconnect(); document.removeEventListener("keydown", slash); };
  }, []);

  const index = bound.findIndex((r) => r.key === key);
  const first = Math.max(0, Math.floor(top / each) - beyond), last = Math.min(bound.length, Math.ceil((top + height) / each) + beyond);
  const onKey = (e) => {
    const page = Math.max(1, Math.floor(height / each) - 2);
    const to = { ArrowDown: index + 1, ArrowUp: index - 1, PageDown: index + page, PageUp: index - page, Home: 0, End: bound.length - 1 }[e.key];
    if (e.key === "Enter" && index >= 0 && e.target === box.current) {
      set({ sandbox: bound[index].id });
    } else if (to !== undefined && e.target === box.current && bound.length) {
      const i = Math.min(bound.length - 1, Math.max(0, to)), el = box.current, head = narrow ? 0 : each;
      setKey(bound[i].key);
      if (i * each < el.scrollTop) el.scrollTop = i * each;
      if ((i + 1) * each + head > el.scrollTop + el.clientHeight) el.scrollTop = (i + 1) * each + head - el.clientHeight;
    } else return;
    e.preventDefault();
  };
  const sort = (c) => set({ ...query, sort: c, dir: (query.sort || "state") === c && query.dir !== "desc" ? "desc" : "" }, true);

  return html`<${Filters} query=${query} shown=${bound.length} all=${counts().all}/>
    <div class="grid" role="grid" tabindex="0" ref=${box} aria-label="Sandboxes" aria-rowcount=${bound.length + 1} aria-colcount=${columns.length}
      aria-activedescendant=${index >= first && index < last ? "row-" + index : null} onKeyDown=${onKey}
      onScroll=${(e) => { keptScroll = e.target.scrollTop; setTop(keptScroll); }}>
      <div class="head" role="row" aria-rowindex="1">${columns.map((c) => html`<div key=${c.id} role="columnheader" class=${"c-" + c.id}
        aria-sort=${(query.sort || "state") !== c.id ? "none" : query.dir === "desc" ? "descending" : "ascending"}><button type="button" onClick=${() => sort(c.id)}>${c.name}</button></div>`)}</div>
      <div class="rows" role="rowgroup" style=${{ height: bound.length * each + "px" }}>
        ${bound.slice(first, last).map((r, i) => html`<${Row} key=${r.key} r=${r} i=${first + i} each=${each} selected=${r.key === key} select=${setKey}/>`)}
      </div>
      ${bound.length ? "" : html`<div role="row"><div role="gridcell" class="wait">${counts().all ? "No sandbox fits this filter." : "No sandbox is bound to a slot on this host."}</div></div>`}
    </div>
    ${others.length ? html`<details class="fold"><summary>Taps of nobody known <span class="dim">(${others.length})</span></summary>
      <ul>${others.map((r) => html`<li key=${r.key}><${State} of=${r.state}/> ${r.device} in ${r.netns || "the host's namespace"}: ${r.text || "it has carrier, and who holds it is not known"}</li>`)}</ul></details>` : ""}
    ${idle.length ? html`<${Idle} idle=${idle}/>` : ""}`;
}

// Row is drawn anew only where what it shows has changed.
function Row({ r, i, each, selected, select }) {
  const query = { sandbox: r.id };
  return html`<div role="row" id=${"row-" + i} aria-rowindex=${i + 2} aria-selected=${selected ? "true" : "false"} class=${"row " + r.state + (selected ? " selected" : "")}
    style=${{ transform: "translateY(" + i * each + "px)" }} onClick=${() => select(r.key)}>
    <div role="gridcell" class="c-state"><${State} of=${r.state} hop=${r.hop}/></div>
    <div role="gridcell" class="c-name"><a href=${"?sandbox=" + encodeURIComponent(r.id)} onClick=${go(query)} tabindex="-1" title=${r.id}>${r.name || r.id}</a></div>
    <div role="gridcell" class="c-netns">${r.netns}</div>
    <div role="gridcell" class="c-template">${r.template}</div>
    <div role="gridcell" class="c-since">${at(r.since)}</div>
    <div role="gridcell" class="c-text" title=${r.text}>${r.silenced ? "(silenced) " : ""}${r.text}${(r.codes || []).length > 1 ? " (and " + (r.codes.length - 1) + " more)" : ""}</div>
  </div>`;
}

const idleShown = 500;

function Idle({ idle }) {
  const [open, setOpen] = useState(false);
  return html`<details class="fold" onToggle=${(e) => setOpen(e.target.open)}><summary>Idle slots <span class="dim">(${idle.length}, healthy)</span></summary>
    ${open ? html`<p>No VMM is attached; NO-CARRIER is expected here: ${idle.slice(0, idleShown).map((r) => r.netns).join(", ")}${idle.length > idleShown ? " and " + (idle.length - idleShown) + " more" : ""}.</p>` : ""}</details>`;
}

export function useMedia(media) {
  const [is, setIs] = useState(() => matchMedia(media).matches);
  useEffect(() => {
    const m = matchMedia(media), f = () => setIs(m.matches);
    m.addEventListener("change", f);
    return () => m.removeEventListener("change", f);
  }, []);
  return is;
}
