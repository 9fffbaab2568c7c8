// Card that asks what to find out about a recording, and how.

import { button, bytes, clock, el, save } from "../common/dom.js";
import { findLength } from "./given.js";
import { isGuessed } from "../common/lengths.js";
import { LONGEST_S } from "./microphone.js";
import { askOptions } from "./options.js";

const VOICEPRINT_BYTES = 100 * 1024 ** 2;
/** What codecs add to a recording's end, in seconds; the service allows for it. */
const PADDING_S = 0.5;

/**
 * Return the card.
 *
 * @param given what to ask about, as `given.js` makes it.
 * @param acts `listen({kind, path, body})` and `discard()`; `again` where it was asked before, in vain.
 */
export function askCard(given, acts) {
  const why = whyNoVoiceprint(given);
  const options = askOptions();
  const wishes = [
    wish("voiceprint", "A voiceprint of the main speaker",
      why ?? `The voice as a string, to compare with others. For recordings of up to ${LONGEST_S} seconds.`, why),
    wish("diarize", "Who speaks when",
      "A lane for each speaker, and a name where you know the voice. For recordings of up to two hours."),
  ];
  const radios = wishes.map((one) => one.querySelector("input"));
  const suit = () => options.suit(chosen(radios));
  radios[usual(given, why)].checked = true;
  suit();
  const submit = (event) => {
    event.preventDefault();
    acts.listen(options.wish(chosen(radios)));
  };
  return el("form", { className: "card ask", on: { submit, change: suit } },
    head(given, acts),
    el("fieldset", {}, el("legend", {}, el("h2", { tabIndex: -1 }, "What should Timbre find out?")), wishes),
    options.element,
    button(acts.again ? "Try again" : "Listen", null, { type: "submit", className: "primary whole" }));
}

function chosen(radios) {
  return radios.find((radio) => radio.checked).value;
}

/** Return which wish is chosen at first: of a short recording the voiceprint, of others who speaks when. */
function usual(given, why) {
  if (given.kind) return given.kind === "voiceprint" && !why ? 0 : 1;
  return given.seconds !== null && !isLong(given) && !why ? 0 : 1;
}

/** Return why there can be no voiceprint of a recording, as a sentence; null where there can be one. */
function whyNoVoiceprint(given) {
  const { file, name, seconds } = given;
  const instead = "Find out who speaks when; the result offers a voiceprint of each speaker.";
  if (isLong(given) && !isGuessed(file, name)) {
    const lasts = clock(seconds, false);
    return `Not of this recording: it lasts ${lasts}, and the limit is ${LONGEST_S} seconds. ${instead}`;
  }
  if (file && file.size > VOICEPRINT_BYTES) return `Not of a file above ${bytes(VOICEPRINT_BYTES)}. ${instead}`;
  return null;
}

function isLong({ seconds }) {
  return seconds !== null && seconds > LONGEST_S + PADDING_S;
}

function wish(value, title, text, why = null) {
  return el("label", { className: "wish" },
    el("input", { type: "radio", name: "wish", value, disabled: Boolean(why) }),
    el("span", {}, el("strong", {}, title), el("span", { className: "soft" }, text)));
}

/**
 * Return a box that tells of `{message, fields?, detail?, calm?}`, field by field, with what an operator asks for;
 * `calm` where nothing went wrong.
 */
export function problemBox(problem) {
  const fields = (problem.fields ?? []).slice(1);
  return el("div", { className: problem.calm ? "problem calm" : "problem", role: "alert" },
    el("p", {}, problem.message),
    fields.length > 0 && el("ul", {}, fields.map((one) => el("li", {}, `${one.field}: ${one.message}`))),
    problem.detail && el("details", {}, el("summary", {}, "Details"), el("p", { className: "small" }, problem.detail)));
}

function head(given, { discard }) {
  const facts = [given.seconds && clock(given.seconds, false), given.file && bytes(given.file.size)];
  return el("div", { className: "given" },
    el("div", {}, el("strong", { className: "name" }, given.name),
      el("span", { className: "soft" }, facts.filter(Boolean).join(", ") || "The service fetches it itself.")),
    given.file && player(given.file),
    el("div", { className: "row" },
      given.recorded && button("Save it", () => save(given.file, given.file.name, given.file.type)),
      button(given.recorded ? "Discard, record again" : "Take another", discard)));
}

function player(file) {
  const src = URL.createObjectURL(file);
  const sound = el("audio", { controls: true, preload: "metadata", src, aria: { label: "Recording" } });
  findLength(sound);
  const note = el("p", { className: "soft small", hidden: true },
    "This browser cannot play such a file. Timbre may well read it.");
  sound.addEventListener("error", () => {
    sound.hidden = true;
    note.hidden = false;
  });
  return el("div", { className: "player" }, sound, note);
}
