// Forms that put a voiceprint on the shelf: from files, or from pasted text.

import { announce, button, el } from "../common/dom.js";
import { addVoice } from "../common/memory.js";
import { readVoiceprint } from "./voiceprint.js";

/** Greatest file that is read: a voiceprint has a few KB, also within the JSON of a job. */
const MOST_BYTES = 2_000_000;
const LONGEST_NAME = 100;

/** Return the two forms. */
export function addingForms() {
  return el("details", { className: "adding" }, el("summary", {}, "Add a voiceprint"),
    el("div", { className: "grid" }, fromFiles(), fromText()));
}

function fromFiles() {
  const error = el("p", { className: "error", role: "alert" });
  const field = el("input", { id: "voice-files", type: "file", multiple: true, accept: ".txt,.json" });
  field.addEventListener("change", async () => {
    error.textContent = (await Promise.all([...field.files].map(addFile))).filter(Boolean).join(" ");
    field.value = "";
  });
  return el("div", {}, el("label", { htmlFor: "voice-files" }, "From files"), field,
    el("p", { className: "soft hint" }, "Text with the voiceprint, or the JSON of a job. A voice is named after its file."),
    error);
}

/** Put the voice of a file on the shelf; returns the error's sentence where that fails. */
async function addFile(file) {
  try {
    if (file.size > MOST_BYTES) throw new Error("It is too large for a voiceprint.");
    add(file.name.replace(/(\.voiceprint)?\.\w+$/, ""), readVoiceprint(await file.text()));
    return null;
  } catch (error) {
    return `${file.name}: ${error.message}`;
  }
}

function fromText() {
  const name = el("input", { id: "voice-name", maxLength: LONGEST_NAME, required: true, autocomplete: "off" });
  const text = el("textarea", { id: "voice-text", rows: 3, required: true, spellcheck: false, autocomplete: "off" });
  const error = el("p", { className: "error", role: "alert" });
  const submit = (event) => {
    event.preventDefault();
    error.textContent = "";
    try {
      add(name.value.trim(), readVoiceprint(text.value));
      form.reset();
      name.focus();
    } catch (problem) {
      error.textContent = problem.message;
      text.focus();
    }
  };
  const form = el("form", { on: { submit } },
    el("label", { htmlFor: "voice-name" }, "Name"), name,
    el("label", { htmlFor: "voice-text" }, "Voiceprint"), text, error,
    button("Add to the shelf", null, { type: "submit" }));
  return form;
}

function add(name, { voiceprint, model, seconds }) {
  addVoice({ name: name || "Unnamed", voiceprint, model, calibrated: null, seconds, from: null, source: null });
  announce(`${name || "Unnamed"} is on the shelf.`);
}
