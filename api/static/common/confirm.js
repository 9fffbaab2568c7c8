// Question in place of a button, before something is removed.

import { button, el } from "./dom.js";

/**
 * Return a button that asks before it acts, in its own place.
 *
 * @param {{label: string, question: () => string, yes: string, act: () => void}} texts `label` names the button for a
 *   screen reader, with what it is about.
 */
export function askingButton(text, { label, question, yes, act }, properties = {}) {
  const where = el("span", { className: "asking" });
  const first = button(text, ask, { ...properties, aria: { label } });
  function ask() {
    const no = button("Keep", keep, { className: "quiet" });
    where.replaceChildren(el("span", {}, question()), button(yes, act, { className: "danger" }), no);
    no.focus();
  }
  function keep() {
    where.replaceChildren(first);
    first.focus();
  }
  where.addEventListener("keydown", (event) => event.key === "Escape" && keep());
  where.append(first);
  return where;
}
