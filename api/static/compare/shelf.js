// Shelf: the named voices that this browser keeps, each to rename, save or remove.

import { askingButton } from "../common/confirm.js";
import { announce, button, el, fill, save } from "../common/dom.js";
import { changeVoice, removeVoice, voices } from "../common/memory.js";
import { ago, fullTime } from "../common/words.js";

const LONGEST_NAME = 100;

/** Return the list of voices, newest first; `compare` is called with one that is to be compared with all. */
export function shelfList(compare, signal) {
  const list = el("ul", { className: "voices" });
  const show = () => {
    fill(list, voices().reverse().map((voice) => el("li", { data: { voice: voice.id } }, entry(voice, compare))));
  };
  addEventListener("timbre-voices", show, { signal });
  show();
  return list;
}

function entry(voice, compare) {
  return [
    el("div", {}, el("h3", {}, voice.name), el("p", { className: "soft facts" }, facts(voice))),
    el("div", { className: "row actions" },
      voices().length > 1 && compareButton(voice, compare),
      button("Rename", (event) => rename(event.target.closest("li"), voice, compare), about("Rename", voice)),
      button("Save", () => saveVoice(voice), about("Save", voice, " as a file")),
      askingButton("Remove", {
        label: `Remove ${voice.name}`, question: () => "From this browser?", yes: "Remove", act: () => remove(voice),
      }, { className: "quiet" })),
  ];
}

function compareButton(voice, compare) {
  const made = button("Compare", () => compare(voice), about("Compare", voice, " with all"));
  made.append(el("span", { className: "beyond" }, " with all"));
  return made;
}

function about(verb, voice, rest = "") {
  return { className: "quiet", aria: { label: `${verb} ${voice.name}${rest}` } };
}

function facts(voice) {
  const speech = voice.seconds ? `${Math.round(voice.seconds)} s of speech` : null;
  const added = voice.at && el("time", { dateTime: voice.at, title: fullTime(voice.at) }, `added ${ago(voice.at)}`);
  const from = voice.from && `from ${voice.from}`;
  return [speech, from, voice.model, added].filter(Boolean).flatMap((fact, number) => (number ? [" · ", fact] : [fact]));
}

function saveVoice({ name, voiceprint }) {
  // A file system may refuse what is left out here.
  const stem = name.replace(/[^\p{L}\p{N}._-]+/gu, "-").slice(0, 60);
  save(`${voiceprint}\n`, `${stem || "voice"}.voiceprint.txt`, "text/plain");
}

function rename(row, voice, compare) {
  const field = el("input", { value: voice.name, maxLength: LONGEST_NAME, required: true });
  field.setAttribute("aria-label", "Name of the voice");
  const keep = () => {
    fill(row, entry(voice, compare));
    focusOn(voice, "Rename");
  };
  const change = (event) => {
    event.preventDefault();
    if (!field.value.trim()) return field.focus();
    changeVoice(voice.id, { name: field.value.trim() });
    announce(`Renamed to ${field.value.trim()}.`);
    focusOn(voice, "Rename");
  };
  const form = el("form", { className: "row", on: { submit: change } }, field,
    button("Keep the name", keep, { className: "quiet" }), button("Rename", null, { type: "submit" }));
  form.addEventListener("keydown", (event) => event.key === "Escape" && keep());
  fill(row, form);
  field.select();
}

function remove(voice) {
  const next = nextTo(voice);
  removeVoice(voice.id);
  announce(`${voice.name} was removed.`);
  if (next) focusOn(next, "Remove");
  else document.querySelector("#shelf-title")?.focus();
}

function nextTo(voice) {
  const all = voices();
  const place = all.findIndex(({ id }) => id === voice.id);
  return all[place - 1] ?? all[place + 1];
}

/** Put the focus on a button of a voice, whose row was made anew. */
function focusOn(voice, verb) {
  document.querySelector(`li[data-voice="${CSS.escape(voice.id)}"] button[aria-label^="${verb} "]`)?.focus();
}
