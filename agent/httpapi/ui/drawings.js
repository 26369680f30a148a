// Drawings in SVG: the path, the boot, the timeline.
import { html } from "./vendor/htm-preact.js";
import { at, seconds } from "./format.js";
import { useMedia } from "./table.js";

const cut = (s, n) => (!s ? "" : s.length > n ? s.slice(0, n - 1) + "…" : s);
const symbols = { ok: "✓", broken: "✕", unknown: "?", booting: "…", paused: "‖" };

// losses is what is lost before a hop: of requests, as counted at the sockets.
function losses(s) {
  const of = {};
  const r = s.requests;
  const part = (a) => (a && a.ended ? a.failed + " of " + a.ended + " failed" : a && a.waiting ? a.waiting + " waiting" : "");
  if (r) {
    const hops = s.diagnosis.hops.map((h) => h.hop);
    if (hops.includes("relay")) of.relay = part(r.relay);
    of.tap = part(r.guest);
  }
  if (s.loss) of[s.loss.hop] = s.loss.count + " of " + s.loss.of + " " + s.loss.what + " lost";
  return of;
}

// Path is the way of a request, from the client on. On a narrow screen it goes down.
export function Path({ s, places, latency }) {
  const down = useMedia("(max-width: 56rem)");
  const hops = s.diagnosis.hops || [], took = {}, lost = losses(s);
  for (const l of latency) took[l.hop] = l;
  const at = (hops.find((h) => h.state === "broken") || hops.find((h) => h.state === "booting") || {}).hop;
  const broken = s.diagnosis.state === "broken" || s.diagnosis.state === "booting";
  const w = down ? 320 : 194, gap = down ? 34 : 24, high = 84, first = down ? 28 : 62;
  const total = down ? [330, first + hops.length * (high + gap)] : [first + hops.length * (w + gap) + 2, high + 44];
  let past = false;
  const parts = hops.map((h, i) => {
    const x = down ? 4 : first + gap + i * (w + gap), y = down ? first + gap + i * (high + gap) : 22;
    const cutHere = h.hop === at && broken;
    const edge = past ? "beyond" : cutHere ? "cut" : "";
    past = past || cutHere;
    const t = took[h.hop], x1 = down ? 164 : x - gap, y1 = down ? y - gap : y + high / 2;
    return html`<g key=${h.hop} class=${"hop " + h.state}>
      <line class=${"edge " + edge} x1=${x1} y1=${y1} x2=${down ? 164 : x} y2=${down ? y : y1}/>
      ${lost[h.hop] ? html`<text class="lost" x=${down ? 174 : x} y=${down ? y - 12 : y - 8}>${cut(lost[h.hop], 26)}</text>` : ""}
      <rect x=${x} y=${y} width=${w} height=${high} rx="6"/>
      <text class="name" x=${x + 10} y=${y + 22}>${symbols[h.state] || ""} ${h.hop}</text>
      ${t ? html`<text class="took" x=${x + w - 8} y=${y + 22} text-anchor="end">${seconds(t.p50)}${t.host ? "*" : ""}</text>` : ""}
      <text class="place" x=${x + 10} y=${y + 43}>${cut(places[h.hop], down ? 46 : 27)}</text>
      <text class="detail" x=${x + 10} y=${y + 63}>${cut(h.detail, down ? 46 : 25)}</text>
      ${cutHere ? html`<text class="here" x=${down ? x + w - 8 : x + 10} y=${down ? y + 78 : y + high + 17} text-anchor=${down ? "end" : "start"}>${h.state === "booting" ? "so far" : "lost here"}</text>` : ""}
    </g>`;
  });
  const says = "Path from the client: " + hops.map((h) => h.hop + " " + h.state + (h.hop === at && broken ? ", lost here" : "")).join(", ");
  return html`<svg class="path" role="img" aria-label=${says} viewBox=${"0 0 " + total.join(" ")} width=${total[0]} height=${total[1]} data-state=${s.diagnosis.state}>
      <text class="name" x=${down ? 164 : 2} y=${down ? 20 : 22 + high / 2 + 5} text-anchor=${down ? "middle" : "start"}>client</text>
      ${down ? "" : html`<line class="edge" x1="48" y1=${22 + high / 2} x2=${first} y2=${22 + high / 2}/>`}${parts}</svg>
    ${latency.some((l) => l.host) ? html`<p class="dim">* median of all sandboxes of this host: single ones have no latency of their own here.</p>` : ""}
    <dl class="hops">${hops.map((h) => html`<div key=${h.hop}><dt class=${h.state}>${h.hop}</dt><dd>${places[h.hop] ? html`<code>${places[h.hop]}</code> ` : ""}${h.detail}</dd></div>`)}</dl>`;
}

const phases = { slot_ready: "slot ready", vmm_started: "VMM started", tap_attached: "tap attached", carrier: "carrier", guest_frame: "first frame", arp_answered: "ARP answered", syn_ack: "port open", envd_healthy: "envd healthy" };

// Boot is a waterfall: each phase begins where the one before it ended.
export function Boot({ boot }) {
  const begin = new Date(boot.begin).getTime();
  const ends = boot.phases.map((p) => (new Date(p.at).getTime() - begin) / 1000);
  const whole = Math.max(0.001, ...ends);
  if (!boot.phases.length) return html`<p>No phase of the boot is known.</p>`;
  return html`${boot.watched ? "" : html`<p class="dim">The boot was over when the agent came: when each phase ended is known in part.</p>`}
    <table class="boot"><caption>Phases of the boot, ${seconds(whole)} in all</caption><thead><tr><th scope="col">Phase</th><th scope="col">Took</th><th scope="col" class="bar">From creation on</th></tr></thead>
    <tbody>${boot.phases.map((p, i) => {
    const to = ends[i] / whole, from = Math.max(0, (ends[i] - p.seconds) / whole);
    return html`<tr key=${p.phase}><th scope="row">${phases[p.phase] || p.phase}</th><td>${seconds(p.seconds)}</td>
      <td class="bar"><svg viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true"><rect x=${from * 100} y="1" width=${Math.max(0.6, (to - from) * 100)} height="8"/></svg></td></tr>`;
  })}</tbody></table>`;
}

// spans cuts the time of a history into stretches of one value.
function spans(history, from, to, first, of, last) {
  const all = [];
  let value = first, since = from;
  for (const e of history.events) {
    const v = of(e), t = new Date(e.time).getTime();
    if (v === undefined || v === value) continue;
    if (t > since) all.push({ value, from: since, to: t });
    value = v;
    since = t;
  }
  all.push({ value: last || value, from: since, to });
  return all;
}

// Timeline is the carrier of the tap and the state of the path over the time recorded.
export function Timeline({ history, now, carrier }) {
  const events = history.events;
  if (!events.length) return html`<p>Nothing has been recorded.</p>`;
  const from = new Date(events[0].time).getTime(), to = history.gone ? new Date(history.gone).getTime() : Date.now();
  const wide = Math.max(1, to - from);
  let open = 0;
  const turn = (events.find((e) => e.kind === "carrier-up" || e.kind === "carrier-lost") || {}).kind; // before it was the other
  const rows = [
    ["carrier", spans(history, from, to, { "carrier-up": "down", "carrier-lost": "up" }[turn] || "unknown", (e) => ({ "carrier-up": "up", "carrier-lost": "down", "tap-gone": "down", "vmm-exited": undefined }[e.kind]), { yes: "up", no: "down" }[carrier])],
    ["problems", spans(history, from, to, "none", (e) => {
      if (e.kind === "problem") open++;
      else if (e.kind === "cleared") open = Math.max(0, open - 1);
      else return undefined;
      return open ? "found" : "none";
    })],
  ];
  const says = rows.map(([name, all]) => name + ": " + all.map((p) => p.value + " from " + at(p.from)).join(", ")).join(". ");
  return html`<div class="timeline" role="img" aria-label=${says}>${rows.map(([name, all]) => html`<div key=${name}><span>${name}</span>
    <svg viewBox="0 0 1000 16" preserveAspectRatio="none">${all.map((p) => html`<rect key=${p.from} class=${"t-" + p.value} x=${((p.from - from) / wide) * 1000} y="0" width=${Math.max(2, ((p.to - p.from) / wide) * 1000)} height="16"><title>${name} ${p.value}: ${at(p.from, true)} to ${at(p.to, true)}</title></rect>`)}</svg></div>`)}
    <div class="dim"><span></span><span class="ends"><time>${at(from)}</time><time>${history.gone ? at(to) : "now"}</time></span></div></div>`;
}
