// Question over the page, for what cannot be asked in place of a button.

import { button, el } from "./dom.js";

/**
 * Ask; returns the value of the answer that was chosen, or null where the question was closed.
 *
 * @param {[text: string, value: string, className?: string][]} answers the first has the focus: let it be the safe one.
 */
export function ask(title, text, answers) {
  return new Promise((resolve) => {
    const close = () => {
      dialog.remove();
      resolve(dialog.returnValue || null);
    };
    const choice = ([label, value, className = ""]) => button(label, () => dialog.close(value), { className });
    const dialog = el("dialog", { aria: { label: title }, on: { close } },
      el("h2", {}, title), el("p", {}, text), el("div", { className: "row" }, answers.map(choice)));
    document.body.append(dialog);
    dialog.showModal();
  });
}
