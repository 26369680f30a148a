// The page: a table of sandboxes, or one of them. See store.js for where its data come from.
import { html, render, useEffect } from "./vendor/htm-preact.js";
import { store, useStore } from "./store.js";
import { useQuery, go } from "./query.js";
import { Table, counts } from "./table.js";
import { Sandbox } from "./sandbox.js";
import { Events } from "./parts.js";
import { at, words, colors } from "./format.js";

const shown = ["broken", "unknown", "booting", "ok"]; // paused is shown where there is any

function Header({ query }) {
  const { head, live } = useStore();
  const n = counts();
  const states = n.paused ? [...shown, "paused"] : shown;
  return html`<header>
    <h1><a href="./" onClick=${go({})}>Tapwatch</a></h1>
    <nav aria-label="Sandboxes by state">${states.map((s) => html`<a key=${s} class=${"count " + s + (n[s] ? "" : " none")} href=${"?state=" + s}
      aria-current=${!query.sandbox && query.state === s ? "true" : null}
      onClick=${go(!query.sandbox && query.state === s ? {} : { state: s })}><b>${live.known ? n[s] || 0 : "?"}</b> ${s}</a>`)}</nav>
    <p class="host">${head.host || "this host"}${head.version ? html` · ${head.version}` : ""}${head.since ? html` · agent up since <time>${at(head.since)}</time>` : ""}
      ${" · "}<a href="metrics">metrics</a>${" · "}<a href="api/v1/paths">JSON</a></p>
    ${live.known && !live.connected ? html`<p class="notice broken" role="status">No connection to the agent since ${at(live.lost)}: what you see is as of then. Trying again.</p>` : ""}
    ${head.ready ? html`<p class="notice unknown" role="status">Not the full picture yet: ${head.ready}</p>` : ""}
    ${(head.lacks || []).map((l) => html`<p key=${l} class="notice unknown">Missing here: ${l}</p>`)}
    ${head.levels ? html`<p class="notice unknown">Checks that are ${head.levels}</p>` : ""}
  </header>`;
}

// A tab in the background says how it stands by its title and icon.
function useTitle(query) {
  const { live, head } = useStore();
  const n = counts();
  const row = query.sandbox && store.sandbox(query.sandbox);
  const what = !live.known || !live.connected ? "not connected" : words(n, ["broken", "unknown"]) || n.ok + " ok";
  const title = (query.sandbox ? (row ? row.state : "gone") + ": " + ((row && row.name) || query.sandbox) + " · " : "") + what + " · Tapwatch " + (head.host || "");
  const worst = !live.connected ? "unknown" : ["broken", "unknown", "booting"].find((s) => n[s]) || "ok";
  const mark = !live.connected ? "?" : n[worst] > 99 ? "99" : worst === "ok" ? "" : String(n[worst]);
  useEffect(() => { document.title = title; }, [title]);
  useEffect(() => {
    const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><circle cx="16" cy="16" r="15" fill="${colors[worst]}"/><text x="16" y="22" font-family="sans-serif" font-weight="bold" font-size="17" text-anchor="middle" fill="#fff">${mark}</text></svg>`;
    document.querySelector("link[rel=icon]").href = "data:image/svg+xml," + encodeURIComponent(svg);
  }, [worst, mark]);
}

function App() {
  const { live, spoken } = useStore();
  const query = useQuery();
  useTitle(query);
  return html`<${Header} query=${query}/>
    <div class="hidden" aria-live="polite" role="log">${spoken}</div>
    ${!live.known ? html`<main><p class="wait">${live.refused || "Connecting to the agent."}</p></main>`
      : query.sandbox ? html`<${Sandbox} key=${query.sandbox} id=${query.sandbox}/>`
      : html`<main class="list"><${Table} query=${query}/><${Events}/></main>`}`;
}

render(html`<${App}/>`, document.getElementById("app"));
store.connect();
