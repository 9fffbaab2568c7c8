// What a user gave: a file or an address, checked before anything is sent.

import { randomId } from "../common/api.js";
import { bytes, el } from "../common/dom.js";

/** Largest file of the service's usual settings, in bytes. */
const LARGEST_BYTES = 1024 ** 3;
const ADDRESS = /^(https?|media|s3):\/\/\S+$/i;
const PROBE_MS = 2000;

/** Unfitness of what was given, as a sentence that says what to do. */
class Unfit extends Error {}

/** Return what was given as a file: `{file, name, seconds, problem}`; rejects with Unfit. */
export async function givenFile(file) {
  if (!file.size) throw new Unfit(`${file.name} is empty, or a folder. Choose a file with sound in it.`);
  if (file.size > LARGEST_BYTES) {
    throw new Unfit(`${file.name} has ${bytes(file.size)}; Timbre takes up to ${bytes(LARGEST_BYTES)}. `
      + "Send it compressed, as mp3 or opus, or in parts.");
  }
  return { file, name: file.name, seconds: await secondsOf(file), problem: "" };
}

/** Return what was given as an address: `{source, name, seconds, problem}`; throws Unfit. */
export function givenAddress(text) {
  const source = text.trim();
  if (!ADDRESS.test(source)) throw new Unfit("An address begins with https:// and leads to the file itself.");
  return { source, name: nameIn(source), seconds: null, problem: "" };
}

/** Return the end of an address, without its query and user: those often hold a secret. */
function nameIn(source) {
  const path = source.split(/[?#]/)[0].replace(/\/\/[^/]*@/, "//").split("/").slice(2);
  return path.filter(Boolean).at(-1) ?? source;
}

/** Return the length of a file, or null where this browser cannot tell. */
function secondsOf(file) {
  const probe = el("audio", { preload: "metadata", src: URL.createObjectURL(file) });
  return new Promise((resolve) => {
    probe.addEventListener("error", () => resolve(null));
    setTimeout(() => resolve(null), PROBE_MS);
    findLength(probe, resolve);
  }).finally(() => URL.revokeObjectURL(probe.src));
}

/** Have a player find out its length: browsers record without one, and find it when they are sent to the end. */
export function findLength(player, found = () => {}) {
  player.addEventListener("durationchange", () => {
    if (Number.isFinite(player.duration)) return found(player.duration);
    player.addEventListener("seeked", () => (player.currentTime = 0), { once: true });
    player.currentTime = Number.MAX_SAFE_INTEGER;
  });
}

/** Return a name for an upload that no other has, and that an address may hold. */
export function uploadName(name) {
  const [, stem, ending = ""] = /^(.*?)(\.\w{1,10})?$/s.exec(name);
  const safe = stem.normalize("NFKD").replace(/\p{M}/gu, "").replace(/[^\w.-]+/g, "-").slice(-100);
  return `page/${randomId()}/${safe.replace(/^[-.]+|-+$/g, "") || "recording"}${ending}`;
}
