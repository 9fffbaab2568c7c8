// "Show me the request": what was just done, in curl, Python and JavaScript.

import { randomId } from "./api.js";
import { announce, button, copy, el } from "./dom.js";
import { fileOf, samplesOf } from "./samples.js";

/** Text in which nobody reads: it is shortened on the screen, and copied whole. */
const LONG = /[A-Za-z0-9+/=_-]{80,}/g;
const COPIED_MS = 2000;

/** Return a disclosure of the requests `steps` in three languages; `steps` are those of `api.js`. */
export function requestsOf(steps) {
  const inside = el("div", { className: "requests" });
  const details = el("details", {}, el("summary", {}, "Show me the request"), inside);
  // A voiceprint of each of fifty people is much text: it is made when somebody looks.
  details.addEventListener("toggle", () => inside.childElementCount || inside.append(...content(steps)));
  return details;
}

function content(steps) {
  const file = fileOf(steps);
  const beside = file ? [" and put the recording beside it as ", el("code", {}, file)] : [];
  const key = el("code", {}, "SERVICE_KEY");
  const hint = el("p", { className: "soft" }, "Set ", key, " to your API key", ...beside, ".");
  return [hint, ...tabbed(samplesOf(steps, new URL(".", location).href.replace(/\/$/, "")))];
}

/** Return tabs as a screen reader knows them: one is in the order of Tab, arrows lead to the others. */
function tabbed(programs) {
  const panels = Object.entries(programs).map(([language, text]) => panel(language, text));
  const tabs = panels.map(({ id, language }, at) => tab(language, id, () => choose(at)));
  const choose = (chosen, focus = false) => {
    tabs.forEach((one, at) => {
      one.setAttribute("aria-selected", at === chosen);
      one.tabIndex = at === chosen ? 0 : -1;
      panels[at].element.hidden = at !== chosen;
    });
    if (focus) tabs[chosen].focus();
  };
  const keydown = (event) => {
    const by = { ArrowRight: 1, ArrowLeft: tabs.length - 1 }[event.key];
    if (by) choose((tabs.indexOf(document.activeElement) + by) % tabs.length, true);
  };
  choose(0);
  return [el("div", { className: "languages", role: "tablist", aria: { label: "Language" }, on: { keydown } }, tabs),
    ...panels.map(({ element }) => element)];
}

function tab(language, id, choose) {
  return button(language, choose, { role: "tab", aria: { controls: id } });
}

function panel(language, text) {
  const id = `request-${randomId()}`;
  const block = el("pre", { tabIndex: 0, aria: { label: language } }, shortened(text));
  const press = button("Copy", async () => {
    if (!await copy(text, block)) return;
    announce("Copied.");
    press.textContent = "Copied";
    setTimeout(() => (press.textContent = "Copy"), COPIED_MS);
  });
  const element = el("div", { id, className: "program", role: "tabpanel", aria: { label: language } }, press, block);
  return { element, id, language };
}

/** Return text with what is long in spans that the style shortens. */
function shortened(text) {
  const parts = [];
  let end = 0;
  for (const found of text.matchAll(LONG)) {
    const long = el("span", { className: "long", title: `${found[0].length} characters` }, found[0]);
    parts.push(text.slice(end, found.index), long);
    end = found.index + found[0].length;
  }
  return [...parts, text.slice(end)];
}
