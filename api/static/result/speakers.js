// List of a conversation's speakers: name, seconds, share; heard alone, renamed, made into a voiceprint.

import { announce, button, el, fill, length } from "../common/dom.js";
import { channelNames } from "./ears.js";
import { voiceprintOf } from "./voiceprints.js";

/**
 * Return the list of speakers.
 *
 * @param of `{conversation, player, listening, timbre, go, renamed: () => void}`.
 */
export function speakersOf(of) {
  const rows = of.conversation.speakers.map((speaker) => row(of, speaker));
  return el("ul", { className: "speakers" }, rows);
}

function row(of, speaker) {
  const share = of.conversation.share(speaker);
  const filled = el("span", { className: `lane-${speaker.colour}` });
  const bar = el("span", { className: "share", aria: { hidden: true } }, filled);
  filled.style.width = `${100 * share}%`;
  const time = el("span", { className: "soft time" }, `${length(speaker.seconds)}, ${Math.round(100 * share)} %`);
  const made = el("div", { className: "making" });
  const name = el("div", { className: "name" });
  const hear = hearing(of, speaker);
  const retell = () => {
    const shown = of.conversation.name(speaker.id);
    hear.setAttribute("aria-label", `Hear ${shown} alone`);
    fill(made, voiceprintOf(of, speaker));
  };
  showName(of, speaker, name, retell);
  retell();
  return el("li", { data: { speaker: speaker.id } }, name, bar, time, el("div", { className: "row acts" }, hear, made));
}

/** Show a name with a button that changes it. */
function showName(of, speaker, where, retell) {
  const shown = of.conversation.name(speaker.id);
  const ask = () => askName(of, speaker, where, retell);
  const rename = button("Rename", ask, { className: "quiet", aria: { label: `Rename ${shown}` } });
  const sure = matched(of.conversation, speaker) ?? channelOf(of.conversation, speaker);
  fill(where, el("span", { className: `dot lane-${speaker.colour}`, aria: { hidden: true } }),
    el("b", {}, shown), rename, sure && el("small", { className: "soft" }, sure));
  return rename;
}

/** Write how sure it is that a speaker is who was asked for. */
function matched({ matches }, speaker) {
  const { match, confidence } = matches[speaker.id] ?? {};
  if (match === undefined) return null;
  if (match === null) return "not recognised";
  return confidence[match] === null ? `most like ${match}` : `recognised as ${match}: ${confidence[match]} of 100`;
}

function channelOf({ channels }, { channel }) {
  return channel === undefined ? null : `channel: ${channelNames(channels.number)[channel].toLowerCase()}`;
}

function askName(of, speaker, where, retell) {
  const before = of.conversation.name(speaker.id);
  const field = el("input", { value: before, maxLength: 100, aria: { label: `Name of ${before}` } });
  const end = () => showName(of, speaker, where, retell).focus();
  const keep = (event) => {
    event.preventDefault();
    const after = of.conversation.rename(speaker.id, field.value);
    announce(`${before} is now called ${after}.`);
    end();
    retell();
    of.renamed();
  };
  const escape = (event) => event.key === "Escape" && end();
  fill(where, el("form", { className: "row", on: { submit: keep, keydown: escape } }, field,
    button("Save", null, { type: "submit" }), button("Cancel", end, { className: "quiet" })));
  field.select();
}

function hearing({ player, conversation }, speaker) {
  const hears = () => player.playing && player.speaker === speaker.id;
  const press = () => (hears() ? player.pause() : player.playOnly(speaker));
  const hear = button("Hear", press);
  player.addEventListener("state", () => {
    hear.textContent = hears() ? "Stop" : "Hear";
    hear.setAttribute("aria-label", `${hear.textContent} ${conversation.name(speaker.id)}${hears() ? "" : " alone"}`);
    hear.disabled = Boolean(player.trouble);
  });
  return hear;
}
