// "Delete everything": what goes, a question, progress that can be stopped, and the receipts.

import { deleteEverything } from "./deletion.js";
import { announce, button, el, fill } from "../common/dom.js";
import { voices } from "../common/memory.js";
import { receiptsOf, savingButton } from "./receipts.js";
import { counted } from "../common/words.js";

/** Word to type before everything is deleted. */
const WORD = "delete";

/** Return the card; `onEnd` is called when a deletion has ended. */
export function deletionCard(timbre, { onEnd }) {
  const where = el("div", {});
  const start = button("Delete everything …", () => ask(where, { timbre, onEnd, start }), { className: "danger" });
  return el("section", { className: "card", aria: { labelledby: "deletion-title" } },
    el("h2", { id: "deletion-title", tabIndex: -1 }, "Delete everything"),
    el("p", { className: "soft" }, "All that this client gave to the service, and all that this browser keeps. ",
      "You get a receipt for each."),
    start, where);
}

function ask(where, context) {
  const people = el("input", { type: "checkbox", id: "people-too" });
  const word = el("input", { id: "word", autocomplete: "off", autocapitalize: "off", spellcheck: false });
  const confirm = button("Delete everything", null, { type: "submit", className: "danger", disabled: true });
  word.addEventListener("input", () => (confirm.disabled = word.value.trim().toLowerCase() !== WORD));
  const submit = (event) => {
    event.preventDefault();
    if (confirm.disabled) return;
    dialog.close();
    run(where, people.checked, context);
  };
  const dialog = el("dialog", { aria: { labelledby: "question-title" }, on: { close: () => dialog.remove() } },
    el("form", { on: { submit } },
      el("h2", { id: "question-title" }, "Delete everything?"), whatGoes(),
      el("label", { className: "check" }, people,
        "Also the people whom this client enrolled: all spaces with their recordings and verifications"),
      el("label", { htmlFor: "word" }, `Type “${WORD}” to confirm`), word,
      el("div", { className: "row" }, confirm, button("Keep everything", () => dialog.close()))));
  document.body.append(dialog);
  dialog.showModal();
  word.focus();
}

function whatGoes() {
  const kept = voices();
  return [
    el("p", {}, "This cannot be undone. It concerns everybody who uses a key of this client, and takes:"),
    el("ul", {},
      el("li", {}, "all jobs with their results and recordings; those that run are canceled"),
      el("li", {}, "all other uploads"),
      el("li", {}, `${counted(kept.length, "voice")} of this browser${kept.length ? `: ${names(kept)}` : ""}`)),
    el("p", { className: "soft" }, "What was sent by webhook, and files that you saved, stay where they are."),
  ];
}

function names(kept) {
  const some = kept.slice(0, 5).map(({ name }) => name).join(", ");
  return kept.length > 5 ? `${some} and ${kept.length - 5} more` : some;
}

async function run(where, people, { timbre, onEnd, start }) {
  const running = new AbortController();
  const text = el("p", { role: "status", tabIndex: -1 }, "Looking for what there is …");
  const bar = el("progress", { aria: { label: "Deletion" } });
  const onProgress = (what, done, all) => {
    text.textContent = `${what}: ${done} of ${all}`;
    bar.max = all;
    bar.value = done;
  };
  const onWait = ({ message }) => (text.textContent = `${text.textContent.split(" — ")[0]} — ${message}`);
  start.hidden = true;
  fill(where, text, bar, button("Stop", () => running.abort()));
  text.focus();
  const record = await deleteEverything(timbre, { people, signal: running.signal, onProgress, onWait });
  start.hidden = false;
  const title = ended(where, record);
  title.focus();
  announce(title.textContent);
  onEnd();
}

function ended(where, { receipts, errors, stopped }) {
  const all = errors.length ? "Deleted, but not all" : "Everything is deleted";
  const title = el("h3", { tabIndex: -1 }, stopped ? "Stopped: the rest is still there" : all);
  const record = { service: location.origin, endedAt: new Date().toISOString(), stopped, receipts, errors };
  fill(where, el("div", { className: "receipt" }, title, savingButton(record),
    errors.length > 0 && el("ul", { className: "error" },
      errors.map(({ what, message }) => el("li", {}, `${what}: ${message}`))),
    receiptsOf(receipts)));
  return title;
}
