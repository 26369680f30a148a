// One sandbox: where its path breaks, why, and how that came.
import { html, useState, useEffect } from "./vendor/htm-preact.js";
import { store, useStore } from "./store.js";
import { back } from "./query.js";
import { State, Copy, EventTable } from "./parts.js";
import { at, seconds } from "./format.js";
import { Path, Boot, Timeline } from "./drawings.js";
import { Plots } from "./plots.js";

const every = 2000; // ms; what changes is asked for at once

function useSandbox(id) {
  const [all, setAll] = useState(null);
  useEffect(() => {
    let timer = 0, asking = false, again = false, over = false;
    const ask = async () => {
      clearTimeout(timer);
      if (asking) { again = true; return; }
      asking = true;
      try {
        const r = await fetch("api/v1/sandboxes/" + encodeURIComponent(id));
        const body = await r.json();
        if (!over) setAll(r.ok ? body : { error: r.status === 404 ? body.error : "The agent answered " + r.status });
      } catch { /* the header says that there is no connection */ }
      asking = false;
      if (over) return;
      if (again) { again = false; ask(); } else timer = setTimeout(() => (document.hidden ? (timer = setTimeout(ask, every)) : ask()), every);
    };
    ask();
    const off = store.onChange((ids) => { if (!ids || ids.has(id)) ask(); });
    return () => { over = true; clearTimeout(timer); off(); };
  }, [id]);
  return all;
}

// facts are what an operator asks for by name.
function facts(s) {
  const b = s.sandbox;
  return [["Id", b.id], ["Namespace", s.netns], ["Tap", s.tap.name], ["Template", b.template_id], ["Build", b.build_id], ["Launcher", s.launcher || b.source], ["Shape", b.shape],
    ["VMM", [b.vmm_command, b.vmm_pid && "pid " + b.vmm_pid].filter(Boolean).join(", ")], ["Team", b.team], ["Created", at(b.since)]].filter(([, v]) => v);
}

function Finding({ f }) {
  const text = [f.cause, ...(f.evidence || []).map((e) => "evidence: " + e), "to do: " + f.fix, "check: " + f.code].join("\n");
  return html`<section class=${"finding " + f.severity}>
    <h3>${f.cause}</h3>
    <p class="dim"><b class=${"severity " + f.severity}>${f.severity}</b> at the ${f.hop}${f.since ? html`, since <time>${at(f.since)}</time>` : ""} ·
      ${" "}<a href=${"checks/" + f.code}>what ${f.code} means</a> · <${Copy} text=${text} what="this finding"/></p>
    <h4>Evidence</h4><ul>${(f.evidence || []).map((e) => html`<li key=${e}>${e}</li>`)}</ul>
    <h4>To do</h4><p class="fix">${f.fix}</p>
  </section>`;
}

// Asked says what clients got lately.
function Asked({ requests }) {
  if (!requests) return html`<p>No request was seen yet.</p>`;
  const line = (name, a) => a && (a.ended || a.waiting) ? html`<li key=${name}>${name}: ${a.ended} lately, ${a.failed} of them failed${a.waiting ? ", " + a.waiting + " waiting" : ""}</li>` : "";
  const totals = Object.entries(requests.totals || {}).map(([o, n]) => n + " " + o.replace(/_/g, " ")).join(", ");
  return html`<ul>${line("Asked of the relay", requests.relay)}${line("Asked of the guest", requests.guest)}${totals ? html`<li>Since the sandbox was first seen: ${totals}</li>` : ""}</ul>`;
}

export function Sandbox({ id }) {
  useStore();
  const all = useSandbox(id);
  useEffect(() => { document.querySelector("main h2").focus({ preventScroll: true }); window.scrollTo(0, 0); }, [id]);
  const row = store.sandbox(id), s = all && all.slot, h = all && all.history;
  const name = (s && s.sandbox.name) || (h && h.name) || (row && row.name) || id;
  const state = s ? s.diagnosis.state : row ? row.state : all ? "gone" : "unknown";
  const hop = row && row.state === state ? row.hop : "";
  return html`<main class="one">
    <p class="back"><a href="./" onClick=${back}>All sandboxes</a></p>
    <h2 tabindex="-1">${name} <${State} of=${state} hop=${hop}/></h2>
    ${!all ? html`<p class="wait">Reading.</p>` : all.error ? html`<p class="wait">${all.error}. Histories of sandboxes that are gone are kept for a time only.</p>` : html`
      ${s ? html`<dl class="facts">${facts(s).map(([k, v]) => html`<div key=${k}><dt>${k}</dt><dd>${v}</dd></div>`)}</dl>` : html`<p>It is gone. It was in ${h.netns}, and the last of it was recorded at <time>${at(h.gone)}</time>.</p>`}
      ${s && s.silence ? html`<p class="notice unknown">Silenced until ${at(s.silence.until)}. ${s.silence.reason}</p>` : ""}
      ${s ? html`<section><h3>Path</h3><${Path} s=${s} places=${all.places} latency=${all.latency || []}/></section>` : ""}
      ${s ? (s.diagnosis.findings || []).map((f) => html`<${Finding} key=${f.code + f.hop} f=${f}/>`) : ""}
      ${s && (s.diagnosis.undecided || []).length ? html`<details><summary class="dim">Checks that could not judge (${s.diagnosis.undecided.length})</summary><p>${s.diagnosis.undecided.join(", ")}</p></details>` : ""}
      ${s && (s.inside?.unread || []).map((u) => html`<p key=${u.what} class="notice unknown">Not known: ${u.what}: ${u.because}</p>`)}
      ${h ? html`<section><h3>Carrier and state</h3><${Timeline} history=${h} now=${s ? s.diagnosis.state : "gone"} carrier=${s && s.tap.carrier}/>
        ${all.went_first ? html`<p><b>What went first:</b> ${all.went_first}</p>` : ""}</section>` : ""}
      ${s ? html`<section><h3>Requests</h3><${Asked} requests=${s.requests}/><${Latency} latency=${all.latency || []}/><${Plots} id=${id} all=${all}/></section>` : ""}
      ${h && h.boot ? html`<section><h3>Boot</h3><${Boot} boot=${h.boot}/></section>` : ""}
      ${h ? html`<section><h3>History</h3>${h.dropped ? html`<p class="dim">${h.dropped} older events are not kept.</p>` : ""}<${EventTable} events=${h.events.slice().reverse()}/></section>` : ""}`}
  </main>`;
}

function Latency({ latency }) {
  if (!latency.length) return html`<p class="dim">The latency of the hops is not known.</p>`;
  return html`<table class="latency"><caption>${latency[0].host ? "Latency of the hops, all sandboxes of this host" : "Latency of the hops"}</caption>
    <thead><tr><th scope="col">Hop</th><th scope="col">Median</th><th scope="col">99%</th><th scope="col">Requests</th></tr></thead>
    <tbody>${latency.map((l) => html`<tr key=${l.hop}><th scope="row">${l.hop}</th><td>${seconds(l.p50)}</td><td>${seconds(l.p99)}</td><td>${l.requests}</td></tr>`)}</tbody></table>`;
}
