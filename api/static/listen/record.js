// Card that records: one round button, the level as it comes, and what is left of 30 seconds.

import { announce, button, clock, el } from "../common/dom.js";
import { LONGEST_S, obstacle, record, refusal } from "./microphone.js";
import { wave } from "./wave.js";

const TOLD_S = 10;
/** Peak of a recording in which there is nothing to hear. */
const SILENT = 0.01;
const ALOUD = "The harbour wakes before the town. Gulls quarrel over the nets, a kettle whistles on the ferry, and "
  + "somebody laughs at a joke that is older than both of them. By seven the fog has thinned, the first bus groans up "
  + "the hill, and five boats wait for the tide. Which of them would you choose?";

/** Return `{element, stop, discard}`; `recorded(given)` is called with what was recorded. */
export function recordCard(recorded) {
  const card = new RecordCard(recorded);
  return { element: card.element, stop: () => card.stop(), discard: () => card.discard() };
}

class RecordCard {
  #asking = false;
  /** Nobody waits for the microphone any more: the view was left while the browser asked. */
  #unwanted = false;

  constructor(recorded) {
    this.recorded = recorded;
    this.recording = null;
    this.wave = wave();
    this.press = button("", () => this.pressed(), { className: "record" });
    this.time = el("p", { className: "time", role: "timer" });
    this.problem = el("p", { className: "error", role: "alert" }, obstacle() ?? "");
    this.press.disabled = Boolean(obstacle());
    this.element = el("div", { className: "card give" }, el("h2", {}, "Record a voice"), this.wave.element, this.press,
      this.time, this.problem,
      el("details", {}, el("summary", {}, "Something to read aloud"), el("p", { className: "aloud" }, ALOUD)));
    this.rest();
  }

  rest() {
    this.recording = null;
    this.label("Record");
    this.time.textContent = `Up to ${LONGEST_S} seconds; ten are enough to begin with.`;
    this.wave.rest();
  }

  label(text) {
    this.press.setAttribute("aria-label", text);
    this.press.title = text;
    this.press.classList.toggle("on", text === "Stop");
  }

  async pressed() {
    if (this.recording) return this.recording.stop();
    if (this.#asking) return;
    this.#asking = true;
    this.#unwanted = false;
    this.problem.textContent = "";
    this.time.textContent = "The browser asks whether this page may listen …";
    try {
      await this.run(await record());
    } catch (error) {
      this.problem.textContent = refusal(error);
      this.rest();
    } finally {
      this.#asking = false;
    }
  }

  async run(recording) {
    if (this.#unwanted) recording.discard();
    this.recording = recording;
    this.label("Stop");
    this.wave.follow(() => this.look(recording));
    announce("Recording. Press Stop when you are done.");
    const result = await recording.finished;
    this.rest();
    if (result?.blob.size) this.recorded(givenOf(result));
    else if (result) this.problem.textContent = "That was too short to record anything. Press Record and speak.";
  }

  /** Show what is left; returns the level. */
  look(recording) {
    const left = Math.max(0, LONGEST_S - recording.seconds());
    const text = `${clock(Math.ceil(left), false)} left`;
    if (text !== this.time.textContent && Math.ceil(left) === TOLD_S) announce(`${TOLD_S} seconds left.`);
    this.time.textContent = text;
    this.press.style.setProperty("--done", String(1 - left / LONGEST_S));
    return recording.level();
  }

  stop() {
    this.#unwanted = true;
    this.recording?.stop();
  }

  discard() {
    this.#unwanted = true;
    this.recording?.discard();
  }
}

function givenOf({ blob, seconds, peak }) {
  const kind = /^\w+\/(\w+)/.exec(blob.type)?.[1] ?? "webm";
  const now = new Date();
  const name = `Recording of ${now.toLocaleString([], { dateStyle: "medium", timeStyle: "short" })}`;
  const problem = peak < SILENT ? "Hardly any sound came from the microphone. Choose another one, or come closer." : "";
  const file = new File([blob], `recording-${now.toISOString().slice(0, 10)}.${kind}`, { type: blob.type });
  return { file, name, seconds, recorded: true, problem };
}
