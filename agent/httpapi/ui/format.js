// How values are written.
export const colors = { ok: "#1a7f37", broken: "#cf222e", unknown: "#9a6700", booting: "#0969da", paused: "#8250df" };

const two = (n) => String(n).padStart(2, "0");
const day = (d) => d.getFullYear() + "-" + two(d.getMonth() + 1) + "-" + two(d.getDate());

// at is a time of day, with the date where it is not today's.
export function at(t, precise) {
  if (!t) return "";
  const d = new Date(t);
  const clock = two(d.getHours()) + ":" + two(d.getMinutes()) + ":" + two(d.getSeconds()) + (precise ? "." + String(d.getMilliseconds()).padStart(3, "0") : "");
  return day(d) === day(new Date()) ? clock : day(d) + " " + clock;
}

// seconds writes a duration with two or three digits.
export function seconds(s) {
  if (s == null || !isFinite(s)) return "unknown";
  if (s < 0.001) return Math.round(s * 1e6) + " µs";
  if (s < 0.1) return (s * 1e3).toFixed(1) + " ms";
  if (s < 1) return Math.round(s * 1e3) + " ms";
  if (s < 60) return s.toFixed(s < 10 ? 2 : 0) + " s";
  if (s < 3600) return Math.floor(s / 60) + " min";
  if (s < 86400) return Math.floor(s / 3600) + " h " + Math.floor((s % 3600) / 60) + " min";
  return Math.floor(s / 86400) + " d " + Math.floor((s % 86400) / 3600) + " h";
}

// words lists the counts of some states, those that are not zero.
export function words(n, states) {
  return states.filter((s) => n[s]).map((s) => n[s] + " " + s).join(", ");
}
