// List of the people of a space, beside the shelf.

import { announce, button, el, fill } from "../common/dom.js";
import { nameOf, peopleOf, spacesOf } from "../common/people.js";
import { counted, sentenceOf } from "../common/words.js";

const DEFAULT = "default";

/**
 * Return `{element, space(), load()}`. `load` asks the service, and tells `onPeople` those who were found.
 * The list stays hidden where the service knows nobody.
 */
export function peopleList(timbre, onPeople) {
  const ask = (method, path) => timbre.call(method, path);
  const spaces = el("select", { id: "space" });
  const choice = el("div", { className: "row" }, el("label", { htmlFor: "space" }, "Space"), spaces);
  const list = el("div");
  const more = button("Show more people", () => attempt(next), { hidden: true });
  let shown = 0;
  const element = el("section", { className: "card", hidden: true, aria: { labelledby: "people-title" } },
    el("h2", { id: "people-title" }, "People of this service"), choice, list, more);
  const space = () => spaces.value || DEFAULT;

  const load = () => attempt(async () => {
    const names = await spacesOf(ask);
    if (names.length) offer(spaces, names);
    choice.hidden = names.length < 2;
    await show(shown);
  });

  async function attempt(work) {
    try {
      await work();
    } catch (error) {
      fill(list, el("p", { className: "error", role: "alert" }, sentenceOf(error)));
    }
  }

  /** Show the newest people of the chosen space, at least so many. */
  async function show(number = 1) {
    const asked = space();
    const { items, total } = await peopleOf(ask, asked, number);
    // Answers may come in another order than the questions.
    if (asked !== space()) return;
    element.hidden = total === 0 && choice.hidden;
    shown = items.length;
    fill(list, rows(items, total));
    more.hidden = shown >= total;
    onPeople(items);
  }

  async function next() {
    const before = shown;
    await show(before + 1);
    announce(`${shown - before} more.`);
    list.querySelectorAll("li")[before]?.focus();
  }

  spaces.addEventListener("change", () => attempt(() => show()));
  return { element, space, load };
}

function offer(list, names) {
  const before = list.value;
  fill(list, names.map((name) => el("option", { value: name }, name)));
  list.value = names.includes(before) ? before : names.includes(DEFAULT) ? DEFAULT : names[0];
}

function rows(items, total) {
  if (!total) return [el("p", { className: "soft" }, "Nobody is enrolled in this space.")];
  return [
    el("ul", { className: "people" }, items.map((person) => el("li", { tabIndex: -1 },
      el("strong", {}, nameOf(person)), el("span", { className: "soft facts" }, ` ${facts(person)}`)))),
    total > items.length && el("p", { className: "soft" }, `And ${total - items.length} more, who are searched too.`),
  ];
}

function facts({ samples, models }) {
  const enrolled = models.length ? models.join(", ") : "not enrolled yet";
  return samples ? `${counted(samples, "recording")} · ${enrolled}` : enrolled;
}
