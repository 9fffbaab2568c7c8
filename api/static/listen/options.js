// Options of a request: the channel that is heard, how many people speak, and who may be heard.

import { el } from "../common/dom.js";
import { voices } from "../common/memory.js";

/** Least confidence of a name, so that strangers get none. */
const LEAST_CONFIDENCE = 50;
const MOST_NAMES = 50;
const CHANNELS = [["mix", "All of them, mixed"], ["0", "The left one"], ["1", "The right one"]];
const APART = ["each", "Each one as a speaker of its own"];
const PATHS = { voiceprint: "/v1/voiceprint", diarize: "/v1/diarize", identify: "/v1/identify" };

/** Return `{element, suit(kind), wish(kind)}`: the options of a kind of job, and the request they make. */
export function askOptions() {
  const channel = el("select", { id: "channel" }, CHANNELS.map(choice));
  const number = el("input", { id: "speakers", type: "number", min: 1, max: 100, step: 1, inputMode: "numeric" });
  const people = peopleBox();
  const count = el("div", {}, el("label", { htmlFor: "speakers" }, "How many people speak"), number,
    el("p", { className: "soft small" }, "Leave it empty where you are not sure."));
  const apart = el("option", { value: APART[0] }, APART[1]);
  const element = el("details", { className: "options" }, el("summary", {}, "Options"),
    el("div", { className: "grid" },
      el("div", {}, el("label", { htmlFor: "channel" }, "Channels of a stereo recording"), channel), count),
    people.element);
  const suit = (kind) => {
    if (kind === "voiceprint") apart.remove();
    else channel.append(apart);
    const alone = kind === "voiceprint" || channel.value === "each";
    count.hidden = people.element.hidden = alone;
  };
  const wish = (kind) => {
    const labels = people.element.hidden ? [] : people.chosen();
    const spoken = count.hidden ? null : number.valueAsNumber;
    return request(labels.length ? "identify" : kind, { channel: channel.value, spoken, labels });
  };
  return { element, suit, wish };
}

function choice([value, text]) {
  return el("option", { value }, text);
}

function request(kind, { channel, spoken, labels }) {
  const body = kind === "voiceprint" ? {} : { turnLevelConfidence: true, confidence: true };
  if (channel !== "mix") body.channel = channel === "each" ? channel : Number(channel);
  if (spoken > 0) body.numSpeakers = spoken;
  if (labels.length) Object.assign(body, { voiceprints: labels, matching: { threshold: LEAST_CONFIDENCE } });
  return { kind, path: PATHS[kind], body };
}

/** Return the choice of those who may be heard: each further name makes all others less certain. */
function peopleBox() {
  const shelf = labelled(voices()).slice(0, MOST_NAMES);
  const checks = shelf.map(({ label }) => el("input", { type: "checkbox", value: label }));
  const chosen = () => shelf.filter((_, at) => checks[at].checked);
  const text = shelf.length
    ? "Tick those who may be heard, and no others. A speaker who is none of them stays without a name."
    : "Your shelf of voices is empty. Make a voiceprint and put it there; then Timbre can name that voice.";
  const labels = checks.map((check) => el("label", { className: "check" }, check, check.value));
  const element = el("fieldset", { className: "people" }, el("legend", {}, "Name them by your voices"),
    el("p", { className: "soft small" }, text), el("div", { className: "row" }, labels));
  return { element, chosen };
}

/** Return voices as labels of a request: each comes once, and none looks like a speaker's own. */
export function labelled(shelf) {
  const used = new Set();
  return shelf.map(({ name, voiceprint }) => {
    const label = unused(name.trim().replace(/^speaker_/iu, "Speaker ").trim().slice(0, 90) || "Voice", used);
    used.add(label);
    return { label, voiceprint };
  });
}

function unused(name, used) {
  let label = name;
  for (let number = 2; used.has(label); number++) label = `${name} (${number})`;
  return label;
}
