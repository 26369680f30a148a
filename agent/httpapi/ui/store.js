// The data of the page: one stream of the agent's, all rows first and then what changes.
import { useState, useEffect } from "./vendor/htm-preact.js";

const silence = 12000; // ms; the agent says that it lives every 5 s
const eventsKept = 200;
const listeners = new Set();
const perSandbox = new Set(); // told which sandboxes' rows have changed

export const store = {
  rows: new Map(), version: 0, events: [], head: {}, spoken: "",
  live: { known: false, connected: false, lost: null, refused: "" },
  ids: new Map(), // of sandboxes, to their row
  connect, sandbox: (id) => store.ids.get(id), onChange(f) { perSandbox.add(f); return () => perSandbox.delete(f); },
};

let drawing = false;
function draw() {
  if (drawing) return;
  drawing = true;
  let drawn = false;
  const now = () => {
    if (drawn) return;
    drawn = true;
    drawing = false;
    listeners.forEach((f) => f());
  };
  requestAnimationFrame(now);
  setTimeout(now, 100); // a tab that is hidden, or held back, draws no frames, and has a title to keep
}

export function useStore() {
  const [, again] = useState(0);
  useEffect(() => {
    const f = () => again((n) => n + 1);
    listeners.add(f);
    return () => listeners.delete(f);
  }, []);
  return store;
}

function take(row) {
  const was = store.rows.get(row.key);
  row.find = [row.name, row.id, row.netns, row.device, row.template, row.text, ...(row.codes || [])].join(" ").toLowerCase();
  store.rows.set(row.key, row);
  if (row.id) store.ids.set(row.id, row);
  return was;
}

// What a screen reader is told: states that turn, a storm of them as a number.
let toSay = [], saying = 0;
function say(text) {
  toSay.push(text);
  if (saying) return;
  saying = setTimeout(() => {
    saying = 0;
    store.spoken = toSay.length > 3 ? toSay.length + " sandboxes changed their state" : toSay.join(". ");
    toSay = [];
    draw();
  }, 1000);
}

function turned(row, was) {
  if (!row.id || (was && was.state === row.state) || (!was && row.state !== "broken")) return;
  say((row.name || row.id) + " is " + row.state + (row.hop ? " at the " + row.hop : "") + (row.state === "broken" && row.text ? ": " + row.text : ""));
}

let source = null, timer = 0, wait = 500;

function connect() {
  source = new EventSource("api/v1/live");
  alive();
  source.addEventListener("all", (e) => {
    const d = JSON.parse(e.data);
    wait = 500;
    store.rows = new Map();
    store.ids = new Map();
    for (const r of d.rows) take(r);
    store.head = d.head;
    store.events = d.events || [];
    store.version++;
    Object.assign(store.live, { known: true, connected: true, refused: "" });
    alive();
    perSandbox.forEach((f) => f(null));
    draw();
  });
  source.addEventListener("change", (e) => {
    const d = JSON.parse(e.data), ids = new Set();
    for (const key of d.gone || []) {
      const row = store.rows.get(key);
      store.rows.delete(key);
      if (row && row.id && store.ids.get(row.id) === row) store.ids.delete(row.id);
      if (row && row.id) ids.add(row.id);
    }
    for (const r of d.put || []) {
      turned(r, take(r));
      ids.add(r.id);
    }
    if (d.head) store.head = d.head;
    for (const ev of d.events || []) {
      store.events.push(ev);
      ids.add(ev.sandbox_id);
    }
    store.events = store.events.slice(-eventsKept);
    store.version++;
    alive();
    perSandbox.forEach((f) => f(ids));
    draw();
  });
  source.addEventListener("alive", alive);
  source.onerror = () => again();
}

function alive() {
  clearTimeout(timer);
  timer = setTimeout(again, silence);
}

// again connects anew: by itself the browser would not where the agent answered with an
// error, or where the connection hangs.
function again() {
  source.close();
  clearTimeout(timer);
  if (store.live.connected || !store.live.lost) store.live.lost = new Date();
  store.live.connected = false;
  if (!store.live.known) store.live.refused = "The agent does not answer. Trying again.";
  setTimeout(connect, wait);
  wait = Math.min(wait * 2, 5000);
  draw();
}
