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

export function Events() {
  const { events } = useStore();
  return html`<details class="fold"><summary>Events <span class="dim">(last ${events.length})</span></summary>
    ${events.length ? html`<${EventTable} who events=${events.slice().reverse()}/>` : html`<p>None yet.</p>`}</details>`;
}
