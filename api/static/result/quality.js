// Quality of a recording in words: what helps or harms a result.

import { el } from "../common/dom.js";

/** Limits of the service's own warnings: signal to noise in dB, and speech in seconds. */
const NOISY_DB = 15;
const CLEAR_DB = 25;
const LITTLE_S = 5;

/** Return chips about a recording, each `{text, tone}`; `tone` is good, bad or empty. */
function findings(output) {
  const { quality, netSpeechSeconds, speechSeconds, speakers = [], channels, warning = "" } = output;
  const apart = warning.includes("channels hold different people");
  const speech = netSpeechSeconds ?? speechSeconds;
  const found = [];
  const note = (is, text, tone = "") => is && found.push({ text, tone });
  const people = quality?.speakerCount ?? speakers.length;
  note(quality?.narrowband, "Telephone sound", "bad");
  note(quality?.snrDb < NOISY_DB, "Noise in the background", "bad");
  note(warning.includes("clipped"), "Too loud: clipped", "bad");
  note(quality?.snrDb >= CLEAR_DB && !quality.narrowband && !warning.includes("clipped"), "Clear sound", "good");
  note(speech < LITTLE_S, `Too little speech: ${speech?.toFixed(1)} s`, "bad");
  note(netSpeechSeconds >= LITTLE_S, "Enough speech", "good");
  note(apart, "Two people on two channels", "bad");
  note(people > 1, quality ? `Several people: ${people}` : `${people} people`, quality ? "bad" : "");
  note(people === 1 && !apart, "One person", "good");
  note(channels?.number > 1, `${channels?.number} channels`);
  return found;
}

/** Return a list of chips about a recording. */
export function qualityOf(output) {
  const chips = findings(output).map(({ text, tone }) => el("li", { className: `chip ${tone}` }, text));
  return el("ul", { className: "chips", aria: { label: "Quality of the recording" } }, chips);
}
