// Choice of two voices: of the shelf, or people of the service.

import { el, fill } from "../common/dom.js";

/** Value of the second choice that stands for all of the shelf. */
export const EVERYONE = "everyone";

/** Return `{element, offer(voices, chosen)}`: two lists, and `choose(one, other)` is called with the keys chosen. */
export function picker(choose) {
  const one = el("select", { id: "one-voice" });
  const other = el("select", { id: "other-voice" });
  for (const list of [one, other]) list.addEventListener("change", () => choose(one.value, other.value));
  const element = el("div", { className: "picker" },
    el("div", {}, el("label", { htmlFor: "one-voice" }, "Compare"), one),
    el("div", {}, el("label", { htmlFor: "other-voice" }, "with"), other));
  const offer = (voices, chosen) => {
    const shelf = voices.filter(({ person }) => !person);
    const all = shelf.length > 2 && el("option", { value: EVERYONE }, "everyone else on the shelf");
    fill(one, unchosen(chosen.one), options(voices));
    fill(other, unchosen(chosen.other), all, options(voices));
    one.value = chosen.one ?? "";
    other.value = chosen.other ?? "";
  };
  return { element, offer };
}

function unchosen(key) {
  return !key && el("option", { value: "", disabled: true }, "choose a voice");
}

function options(voices) {
  const group = (label, some) => some.length > 0
    && el("optgroup", { label }, some.map(({ key, name }) => el("option", { value: key }, name)));
  const shelf = voices.filter(({ person }) => !person);
  return [group("Your shelf", shelf), group("People of this service", voices.filter(({ person }) => person))];
}
