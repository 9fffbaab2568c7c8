// Comparisons of a voice with another one, or with all of the shelf, as the API answers them.

import { step } from "../common/api.js";
import { confidenceBar } from "../common/bar.js";
import { announce, button, el, fill } from "../common/dom.js";
import { each, paced } from "../common/pace.js";
import { voiceprintOf } from "../common/people.js";
import { requestsOf } from "../common/requests.js";
import { confidenceWords, counted, MARKS, sentenceOf, UNCALIBRATED } from "../common/words.js";

/** Comparisons that are asked for at a time. */
const MOST_AT_ONCE = 6;
const LEGEND = `The marks: ${MARKS.map(({ name, at }) => `${name} ${at}`).join(", ")}.`;

/** Show the comparison of two voices; `again` is called to ask once more. */
export async function showPair(where, one, other, { timbre, signal, again }) {
  const steps = [];
  const title = el("h2", {}, `${one.name} and ${other.name}`);
  try {
    const answer = await compare(timbre, one, other, { signal, steps });
    fill(where, title, verdict(answer), requestsOf(steps));
    announce(`${title.textContent}: ${spoken(answer)}`);
  } catch (error) {
    if (signal.aborted) return;
    fill(where, title, el("p", { className: "error", role: "alert" }, sentenceOf(error)), button("Try again", again));
  }
}

function verdict({ confidence, warning }) {
  return [confidenceBar(confidence), warning && el("p", { className: "soft" }, warning)];
}

function spoken({ confidence }) {
  return confidence === null ? UNCALIBRATED : confidenceWords(confidence).text;
}

/** Compare two voices; each has its voiceprint, or is a person of the service. */
async function compare(timbre, one, other, { signal, steps, onWait }) {
  const options = { signal, onWait };
  const ask = (method, path) => paced(() => timbre.call(method, path, undefined, { signal, steps }), options);
  const model = one.models.find((name) => other.models.includes(name));
  const stringOf = (voice) => voice.voiceprint ?? voiceprintOf(ask, voice.person, model);
  const body = { voiceprints: [await stringOf(one), await stringOf(other)] };
  steps?.push(step("POST", "/v1/compare", body));
  return paced(() => timbre.call("POST", "/v1/compare", body, { signal }), options);
}

/** Show a voice compared with others, the most alike first; `choose` is called with one that is to be seen alone. */
export async function showAll(where, one, others, { timbre, signal, choose }) {
  const progress = el("p", { className: "soft", role: "status" }, `Comparing with ${counted(others.length, "voice")} …`);
  const steps = [];
  const found = [];
  const title = el("h2", {}, `${one.name} and the whole shelf`);
  const tell = (more) => (progress.textContent = `${found.length} of ${others.length} compared${more}`);
  fill(where, title, progress);
  try {
    await each(others, MOST_AT_ONCE, async (voice) => {
      const options = { signal, onWait: () => tell("; the minute's limit is reached, it goes on soon."), steps };
      found.push(await compared(timbre, one, voice, voice === others[0] ? options : { ...options, steps: undefined }));
      tell(" …");
    });
  } catch {
    return;
  }
  fill(where, title, ranking(found, choose), requestsOf(steps));
  announce(summary(found));
}

/** Return `{voice, confidence, score}` or `{voice, error}` of one comparison of many; throws where all are given up. */
async function compared(timbre, one, voice, options) {
  try {
    return { voice, ...(await compare(timbre, one, voice, options)) };
  } catch (error) {
    if (options.signal.aborted) throw error;
    return { voice, error };
  }
}

function ranking(found, choose) {
  const done = found.filter(({ error }) => !error).sort((a, b) => b.confidence - a.confidence || b.score - a.score);
  const uncalibrated = done.some(({ confidence }) => confidence === null);
  return [
    uncalibrated && el("p", { className: "uncalibrated" }, `${UNCALIBRATED} The most alike come first.`),
    !uncalibrated && done.length > 0 && el("p", { className: "soft" }, LEGEND),
    el("ol", { className: "ranking" }, done.map(({ voice, confidence }) => el("li", {},
      button(voice.name, () => choose(voice), { className: "quiet", aria: { label: `${voice.name}: see it alone` } }),
      uncalibrated ? null : confidenceBar(confidence, { brief: true })))),
    found.filter(({ error }) => error).map(({ voice, error }) =>
      el("p", { className: "error" }, `${voice.name}: ${sentenceOf(error)}`)),
  ].flat();
}

function summary(found) {
  const sure = found.filter(({ confidence }) => Number.isInteger(confidence));
  const [best] = sure.sort((a, b) => b.confidence - a.confidence);
  const end = best ? ` The most alike is ${best.voice.name}: ${confidenceWords(best.confidence).text}.` : "";
  return `Compared with ${counted(found.length, "voice")}.${end}`;
}
