// What is looked at stands in the address, so that it can be sent to somebody.
import { useState, useEffect } from "./vendor/htm-preact.js";

const listeners = new Set();
let steps = 0; // made on this page, that "back" undoes

export function read() { return Object.fromEntries(new URLSearchParams(location.search)); }

export function address(query) {
  const p = new URLSearchParams();
  for (const [k, v] of Object.entries(query)) if (v) p.set(k, v);
  const s = p.toString();
  return s ? "?" + s : "./";
}

// set changes the address; a step that "back" undoes unless replaced.
export function set(query, replace) {
  if (!replace) steps++;
  history[replace ? "replaceState" : "pushState"](null, "", address(query));
  listeners.forEach((f) => f());
}

// go is the handler of a link; what opens a new tab is left to the browser.
export function go(query) {
  return (e) => {
    if (e.button || e.metaKey || e.ctrlKey || e.shiftKey || e.altKey) return;
    e.preventDefault();
    set(query);
  };
}

export function useQuery() {
  const [, again] = useState(0);
  useEffect(() => {
    const f = () => again((n) => n + 1);
    listeners.add(f);
    window.addEventListener("popstate", f);
    return () => { listeners.delete(f); window.removeEventListener("popstate", f); };
  }, []);
  return read();
}

// back is the handler of the link to the list: as it was, where it was left for here.
export function back(e) {
  if (!steps) return go({})(e);
  e.preventDefault();
  steps = 0;
  history.back();
}
