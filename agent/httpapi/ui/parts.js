// Small parts that both views have.
import { html, useState } from "./vendor/htm-preact.js";
import { useStore } from "./store.js";
import { at } from "./format.js";
import { go } from "./query.js";

export function State({ of, hop }) {
  return html`<b class=${"state " + of}>${of}${hop ? " at " + hop : ""}</b>`;
}

// Copy is a button that copies a text. The clipboard may be refused to pages that came
// without TLS from elsewhere: the text is selected then, in a field.
export function Copy({ text, what }) {
  const [said, say] = useState("");
  const [field, show] = useState(false);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      say("Copied");
      setTimeout(() => say(""), 2000);
    } catch { show(true); }
  };
  return html`<button type="button" onClick=${copy} aria-label=${"Copy " + what}>${said || "Copy"}</button>
    ${field ? html`<textarea readonly aria-label=${what} rows="6" ref=${(el) => el && el.select()}>${text}</textarea>` : ""}`;
}

export function EventTable({ events, who }) {
  return html`<div class="scroll" tabindex="0" role="region" aria-label="Events"><table class="events"><tbody>
    ${events.map((e) => html`<tr key=${e.time + e.kind + e.netns + e.text}><td><time>${at(e.time, true)}</time></td><td class="kind">${e.kind}</td>
      ${who ? html`<td>${e.sandbox_id ? html`<a href=${"?sandbox=" + encodeURIComponent(e.sandbox_id)} onClick=${go({ sandbox: e.sandbox_id })}>${e.name || e.sandbox_id}</a>` : e.netns}</td>` : ""}
      <td>${e.text}</td></tr>`)}
  </tbody></table></div>`;
}

// Events are the last ones, or those around a time that is asked for: "02:14 yesterday".
export function Events() {
  const { events } = useStore();
  const [past, setPast] = useState(null);
  const around = async (e) => {
    const t = new Date(e.target.value).getTime();
    if (!t) { setPast(null); return; }
    const iso = (ms) => encodeURIComponent(new Date(ms).toISOString());
    try {
      const r = await fetch("api/v1/events/past?since=" + iso(t - 300000) + "&until=" + iso(t + 300000));
      const body = await r.json();
      setPast(r.ok ? body : { error: body.error, events: [] });
    } catch { setPast({ error: "The agent does not answer", events: [] }); }
  };
  const shown = past ? past.events : events.slice().reverse();
  return html`<details class="fold"><summary>Events <span class="dim">(last ${events.length})</span></summary>
    <p><label>Five minutes before and after <input type="datetime-local" step="60" onChange=${around}/></label></p>
    ${past && past.error ? html`<p class="broken">${past.error}</p>` : ""}
    ${past && past.more ? html`<p class="dim">${past.more} older ones are left out.</p>` : ""}
    ${shown.length ? html`<${EventTable} who events=${shown}/>` : html`<p>${past ? "Nothing is kept of that time." : "None yet."}</p>`}</details>`;
}
