// Result of a job on a recording: who speaks when, each speaker, quality, exports.

import { Conversation } from "./conversation.js";
import { button, clock, el, fill, length } from "../common/dom.js";
import { channelNames } from "./ears.js";
import { exportsOf } from "./exports.js";
import { areOf, checkLength, NoWaveform, peaksOf } from "./peaks.js";
import { Player } from "./player.js";
import { qualityOf } from "./quality.js";
import { requestsOf } from "../common/requests.js";
import { speakersOf } from "./speakers.js";
import { Timeline } from "./timeline.js";
import { TurnList } from "./turn-list.js";

/**
 * Show the result of a job that has ended.
 *
 * @param listening `{jobId, kind, name, source, blob, output, steps}`: `source` is the recording's address or null,
 *   `blob` its file where the browser has it, `steps` the requests that led here.
 * @returns {{close: () => void}} `close` stops the sound.
 */
export function showResult(where, listening, { timbre, go }) {
  listening.steps ??= [];
  const scene = listening.output.diarization ? heard(listening, { timbre, go }) : plain(listening);
  const requests = el("div", {}, requestsOf(listening.steps));
  fill(where, el("div", { className: "seen" }, facts(listening), scene.parts, requests));
  const again = () => {
    const { open } = requests.firstChild;
    fill(requests, requestsOf(listening.steps)).firstChild.open = open;
  };
  where.addEventListener("timbre-steps", again);
  scene.start?.();
  return {
    close() {
      where.removeEventListener("timbre-steps", again);
      scene.close?.();
    },
  };
}

/** Return name, length, model, quality and warning of a result. */
function facts({ name, output }) {
  const parts = [
    output.audioSeconds !== undefined && `${length(output.audioSeconds)} long`,
    output.speechSeconds !== undefined && `${length(output.speechSeconds)} of speech`,
    output.model && `model ${output.model}`,
  ].filter(Boolean);
  return el("header", { className: "facts" },
    el("h2", {}, name || "Recording"),
    el("p", { className: "soft" }, parts.join(" · "), calibration(output.calibrated)),
    qualityOf(output),
    output.warning && el("p", { className: "warning" }, output.warning));
}

function calibration(calibrated) {
  if (calibrated === undefined) return null;
  const text = calibrated ? "calibrated" : "not calibrated, so it gives no confidences";
  return [` · ${text} (`, el("a", { href: "docs" }, "what that means"), ")"];
}

/** Return the parts of a result that has turns, what starts them, and what ends them. */
function heard(listening, { timbre, go }) {
  const conversation = new Conversation(listening);
  const player = new Player(listening, timbre);
  const timeline = new Timeline(conversation, player);
  const turns = new TurnList(conversation, player);
  const renamed = () => {
    timeline.draw();
    turns.show();
  };
  const note = el("p", { className: "soft note", role: "status" });
  player.addEventListener("trouble", () => (note.textContent = player.trouble));
  player.addEventListener("doubt", () => (note.textContent = OTHERWISE));
  const hint = el("p", { className: "soft hint" }, HINT);
  player.addEventListener("trouble", () => (hint.hidden = Boolean(player.trouble)));
  const parts = [
    el("section", { className: "card", aria: { label: "Timeline" } }, transport(listening, player, timeline), note,
      timeline.element, hint),
    el("section", { className: "card" }, el("h3", {}, "Speakers"),
      speakersOf({ conversation, player, listening, timbre, go, renamed })),
    el("section", { className: "card" }, el("h3", {}, turnsOf(conversation)), turns.element),
    saving(listening, (format) => conversation.namesIn(format), timbre),
  ];
  const start = () => open(listening, player, timeline, note);
  return { parts, start, close: () => [timeline, player].forEach((one) => one.close()) };
}
const HINT = "Press anywhere to hear from there. Keys: arrows move, space plays, + and − zoom.";

function turnsOf({ turns, words }) {
  if (words) return "What was said";
  return turns.length === 1 ? "One turn" : `${turns.length} turns`;
}

/** Open the sound, and draw its waveform once it is there. */
async function open(listening, player, timeline, note) {
  timeline.draw();
  await player.open();
  if (player.trouble) return;
  try {
    checkLength(listening.output.audioSeconds, listening.output.channels?.number ?? 1);
    const peaks = await peaksOf(listening.blob ?? (await fetched(player.address)));
    if (!areOf(peaks, listening.output)) throw new NoWaveform(OTHERWISE);
    timeline.showPeaks(peaks);
  } catch (error) {
    if (!player.trouble) note.textContent = error instanceof NoWaveform ? error.message : new NoWaveform(AWAY).message;
  }
}
const OTHERWISE = "This browser reads the file otherwise than Timbre, so what you hear may not be what the lanes show. "
  + "To hear it exactly, send it as flac or wav.";
const AWAY = "The waveform is left out: the recording could not be fetched.";

async function fetched(address) {
  const answer = await fetch(address);
  if (!answer.ok) throw new NoWaveform(AWAY);
  return answer;
}

/** Return the button that plays, the time, the choice of channels and the zoom. */
function transport(listening, player, timeline) {
  const play = button("Play", () => player.toggle(), { className: "primary play" });
  const time = el("span", { className: "soft when" });
  const all = clock(listening.output.audioSeconds);
  player.addEventListener("time", () => (time.textContent = `${clock(player.time)} / ${all}`));
  player.addEventListener("state", () => {
    play.textContent = player.playing ? "Pause" : "Play";
    play.disabled = Boolean(player.trouble) && !player.passing;
  });
  time.textContent = `${clock(0)} / ${all}`;
  return el("div", { className: "row transport" }, play, time, channels(listening, player), timeline.tools);
}

function channels({ output }, player) {
  const number = output.channels?.number ?? 1;
  if (number < 2) return null;
  const choice = (text, channel) => {
    const on = { change: () => player.choose(channel) };
    const radio = el("input", { type: "radio", name: "channel", checked: channel === null, on });
    return el("label", { className: "choice" }, radio, text);
  };
  const choices = [choice(number === 2 ? "Both" : "All", null), ...channelNames(number).map(choice)];
  return el("fieldset", { className: "channels" }, el("legend", { className: "unseen" }, "Channel to hear"), choices);
}

function saving(listening, names, timbre) {
  const buttons = exportsOf(listening, names, { timbre });
  return el("section", { className: "card" }, el("h3", {}, "Take it with you"), buttons);
}

/** Return a result without turns as it stands. */
function plain({ output }) {
  return { parts: [el("pre", { tabIndex: 0 }, JSON.stringify(output, null, 2))] };
}
