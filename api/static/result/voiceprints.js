// Voiceprint of one speaker of a recording: made from what that speaker says alone, and put on the shelf.

import { longest } from "./conversation.js";
import { button, el, fill, length } from "../common/dom.js";
import * as memory from "../common/memory.js";

/** Speech that the service takes for a voiceprint at most: 30 s, less what rounding may add, in so many segments. */
const MOST_S = 29.9;
const MOST_SEGMENTS = 200;
/** Speaker of a voiceprint job that is told where one person speaks. */
const OF_SEGMENTS = "SPEAKER_00";
const NEVER_ALONE = "Never heard alone, so no voiceprint";

/** Return what makes a speaker's voiceprint, or puts one that is there on the shelf. */
export function voiceprintOf(of, speaker) {
  const { output, source } = of.listening;
  // What is under way, or done, outlives a new name.
  if (speaker.voice?.element) return speaker.voice.element;
  const whose = output.voiceprint && (output.speaker ?? output.dominantSpeaker);
  const made = speaker.voice?.output ?? (whose === speaker.id ? output : null);
  if (made) return shelving(of, speaker, made);
  if (!source) return null;
  if (!of.conversation.alone(speaker).length) return el("small", { className: "soft" }, NEVER_ALONE);
  const where = el("div", { className: "row" });
  const aria = { label: `Make a voiceprint of ${of.conversation.name(speaker.id)}` };
  return fill(where, button("Make a voiceprint", () => make(of, speaker, where), { aria }));
}

async function make(of, speaker, where) {
  speaker.voice = { element: where };
  const step = el("span", { className: "soft", role: "status" }, "Making the voiceprint …");
  fill(where, el("progress", { aria: { label: "Making the voiceprint" } }), step);
  try {
    speaker.voice = { output: await made(of, speaker) };
    where.dispatchEvent(new Event("timbre-steps", { bubbles: true }));
    const { warning } = speaker.voice.output;
    fill(where, shelving(of, speaker, speaker.voice.output), warning && el("small", { className: "soft" }, warning));
  } catch (error) {
    speaker.voice = null;
    const again = button("Try again", () => make(of, speaker, where));
    fill(where, el("span", { className: "error", role: "alert" }, error.message), again);
  }
  where.querySelector("button").focus({ preventScroll: true });
}

/** Run the job; returns its output. */
async function made({ timbre, listening, conversation }, speaker) {
  const steps = [];
  const { source } = listening;
  const segments = longest(conversation.alone(speaker).slice(0, MOST_SEGMENTS), MOST_S);
  const channel = conversation.channel(speaker);
  const { jobId, warning } = await timbre.submit("/v1/voiceprint", { url: source, segments, channel }, { steps });
  // In the history, and opened from there, it still is this speaker's, not the whole recording's.
  const names = { [OF_SEGMENTS]: shelfName(conversation, listening, speaker) };
  memory.noteJob(jobId, { source, name: ofRecording(conversation, listening, speaker), names });
  // Whatever is not taken of it would give another person's voice this speaker's name.
  if (warning) throw new Error(warning);
  const { status, output } = await timbre.follow(jobId, { steps });
  if (status !== "succeeded") throw new Error(output.error);
  listening.steps.push(...steps);
  return output;
}

/** Return the button that puts a voiceprint on the shelf under its speaker's name. */
function shelving(of, speaker, output) {
  const where = el("div", { className: "row" });
  const name = shelfName(of.conversation, of.listening, speaker);
  const title = `Voiceprint of ${length(output.netSpeechSeconds)} of speech`;
  const put = () => shelve(of, speaker, name, output, where);
  const aria = { label: `Put on the shelf: ${name}` };
  return fill(where, button("Put on the shelf", put, { className: "primary", title, aria }));
}

function shelve({ listening, go }, speaker, name, output, where) {
  const { voiceprint, model, calibrated, netSpeechSeconds: seconds } = output;
  const { name: from, source } = listening;
  memory.addVoice({ name, voiceprint, model, calibrated, seconds, from, source });
  speaker.voice = { element: where };
  const aria = { label: `Compare ${name} with other voices` };
  const compare = button("Compare", () => go("compare"), { aria });
  fill(where, el("span", { className: "good", role: "status" }, "On the shelf"), compare);
  compare.focus();
}

/** Return a speaker's name, with that of the recording where it would mean nothing on the shelf. */
function shelfName(conversation, listening, speaker) {
  if (conversation.names()[speaker.id]) return conversation.name(speaker.id);
  return conversation.speakers.length === 1 ? bare(listening) : ofRecording(conversation, listening, speaker);
}

function ofRecording(conversation, listening, { id }) {
  return `${conversation.name(id)} of ${bare(listening)}`;
}

/** Return the name of a recording without its ending. */
function bare({ name }) {
  return (name || "a recording").replace(/\.\w{1,5}$/, "");
}
