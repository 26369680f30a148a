// Small plots of the mean latency of each hop. The agent keeps no series: what is drawn was
// seen while this page was open, 15 minutes at most.
import { html, useEffect, useRef } from "./vendor/htm-preact.js";
import { seconds } from "./format.js";

const span = 900; // s
const seen = new Map(); // by sandbox, by hop: the points, and the last look
const most = 16; // sandboxes whose points are kept

// note takes one answer of the agent. Where no request ended since the last, there is no
// latency: the line has a gap.
function note(id, all) {
  const now = Date.now() / 1000;
  if (!seen.has(id)) {
    if (seen.size >= most) seen.delete(seen.keys().next().value);
    seen.set(id, { of: null, hops: new Map() });
  }
  const kept = seen.get(id);
  if (kept.of === all) return kept.hops;
  kept.of = all;
  for (const l of all.latency || []) {
    let h = kept.hops.get(l.hop);
    if (!h || h.host !== l.host || l.requests < h.requests) kept.hops.set(l.hop, (h = { host: l.host, requests: l.requests, sum: l.sum, points: [] }));
    else {
      const n = l.requests - h.requests;
      h.points.push([now, n ? (l.sum - h.sum) / n : null]);
      h.requests = l.requests;
      h.sum = l.sum;
    }
    while (h.points.length && h.points[0][0] < now - span) h.points.shift();
  }
  return kept.hops;
}

function Plot({ hop, points }) {
  const box = useRef(), plot = useRef();
  const color = () => getComputedStyle(document.documentElement).getPropertyValue("--dim");
  useEffect(() => {
    const axis = { stroke: color, grid: { show: false }, font: "11px system-ui" };
    const p = plot.current = new uPlot({
      width: box.current.clientWidth, height: 110, legend: { show: false }, cursor: { show: false },
      scales: { x: { range: () => [Date.now() / 1000 - span, Date.now() / 1000] }, y: { range: (u, min, max) => [0, max ? max * 1.1 : 0.001] } },
      axes: [{ ...axis, space: 70, values: (u, at) => at.map((t) => new Date(t * 1000).toTimeString().slice(0, 5)) }, { ...axis, size: 62, values: (u, at) => at.map(seconds) }],
      series: [{}, { stroke: () => getComputedStyle(document.documentElement).getPropertyValue("--booting"), width: 1.5, points: { show: true, size: 3 } }],
    }, [[], []], box.current);
    const size = new ResizeObserver(() => p.setSize({ width: box.current.clientWidth, height: 110 }));
    size.observe(box.current);
    return () => { size.disconnect(); p.destroy(); };
  }, []);
  useEffect(() => { plot.current.setData([points.map((p) => p[0]), points.map((p) => p[1])]); });
  const last = points.findLast((p) => p[1] != null);
  return html`<div class="plot"><h4>${hop}</h4><div role="img" ref=${box} aria-label=${"Mean latency of the " + hop + " in the last 15 minutes" + (last ? ", last " + seconds(last[1]) : ", none yet")}></div></div>`;
}

export function Plots({ id, all }) {
  const hops = [...note(id, all)];
  if (!hops.length) return "";
  return html`<p class="dim">Mean latency${hops[0][1].host ? " over all sandboxes of this host" : ""}, as seen since this page was opened:</p>
    <div class="plots">${hops.map(([hop, h]) => html`<${Plot} key=${hop} hop=${hop} points=${h.points}/>`)}</div>`;
}
