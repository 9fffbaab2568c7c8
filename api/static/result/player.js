// Sound of a recording: from this browser's file, or part by part from the service; seeks, plays stretches, splits.

import { Offline } from "../common/api.js";
import { Ears } from "./ears.js";
import { isAsLong, isGuessed } from "../common/lengths.js";

/** Milliseconds after which an address of the service may have ended, so that an error is worth another one. */
const FRESH_MS = 60_000;
const CANNOT_PLAY = "This browser cannot play this kind of file. What was found in it is below all the same.";
const GONE = "The recording is no longer kept, so it cannot be heard. What was found in it is below.";
const AWAY = "The recording cannot be fetched just now. Press play to try again.";

/**
 * Tells of "time" (where it plays), "state" (playing or not), "doubt" (it may play other places than it is asked to) and
 * "trouble" (a sentence; `trouble` holds it).
 */
export class Player extends EventTarget {
  /** @param listening see result.js. */
  constructor(listening, timbre) {
    super();
    this.listening = listening;
    this.timbre = timbre;
    this.trouble = null;
    this.wanted = 0;
    /** Stretches that are played, the others skipped, and whose they are; null: everything. */
    this.spans = this.speaker = null;
    /** Channel that is heard, counted from 0; null: all. */
    this.channel = null;
    this.audio = new Audio();
    this.audio.preload = "metadata";
    this.ears = new Ears(this.audio);
    this.#listen();
  }

  #listen() {
    const tell = () => this.#tell("state");
    for (const event of ["play", "pause", "ended"]) this.audio.addEventListener(event, tell);
    this.audio.addEventListener("play", () => this.#tick());
    this.audio.addEventListener("ended", () => this.#stopSpans());
    this.audio.addEventListener("timeupdate", () => this.#keepTime());
    this.audio.addEventListener("seeked", () => this.#sought());
    this.audio.addEventListener("loadedmetadata", () => this.#loaded());
    this.audio.addEventListener("durationchange", () => this.#compare());
    this.audio.addEventListener("error", () => this.#failed());
  }

  /** Open the recording; without a way to hear it, tell of trouble. */
  async open() {
    const { blob, source } = this.listening;
    if (blob) return this.#take((this.made = URL.createObjectURL(blob)));
    if (!source) return this.#give("This browser does not know where the recording lies, so it cannot be heard here.");
    if (!source.startsWith("media://")) {
      return this.#give("The recording lies elsewhere, and this page loads nothing from there: no sound here.");
    }
    try {
      this.#take(await this.timbre.listenAt(source));
    } catch (error) {
      this.passing = error instanceof Offline;
      this.#give(this.passing ? AWAY : error.status === 404 ? GONE : error.message);
    }
  }

  #take(address) {
    if (this.closed) return;
    this.takenAt = Date.now();
    // A channel of sound from another origin, such as S3, can be heard alone only with that origin's leave.
    this.audio.crossOrigin = new URL(address, location).origin === location.origin ? null : "anonymous";
    this.audio.src = this.address = address;
  }

  #loaded() {
    // Recorders of browsers write no length, and such a file cannot be sought in until its end was looked for.
    this.measuring = this.audio.duration === Infinity;
    if (this.measuring || this.wanted) this.audio.currentTime = this.measuring ? 1e9 : this.wanted;
  }

  /** What lies behind the browser's end cannot be heard, and a guessed length leads to wrong places. */
  #compare() {
    const { duration } = this.audio;
    const { blob, name, output: { audioSeconds } } = this.listening;
    if (!Number.isFinite(duration) || isAsLong(duration, audioSeconds)) return;
    // A file that breaks off may well tell more than it has.
    if (duration < audioSeconds || isGuessed(blob, name)) this.#tell("doubt");
  }

  #sought() {
    if (this.measuring) this.audio.currentTime = this.wanted;
    this.measuring = false;
    this.#keepTime();
  }

  /** An address of the service ends after a while; one that had just been made did not, so the file is at fault. */
  async #failed() {
    if (!this.audio.getAttribute("src")) return;
    if (!this.made && Date.now() - this.takenAt > FRESH_MS) return this.#again();
    this.#give(await this.#whyNot());
  }

  async #again(played = this.resume) {
    this.passing = false;
    this.#give(null);
    await this.open();
    if (played && !this.trouble) this.play();
  }

  async #whyNot() {
    if (this.made) return CANNOT_PLAY;
    const answer = await fetch(this.address, { headers: { Range: "bytes=0-0" } }).catch(() => null);
    this.passing = !answer;
    return answer ? (answer.ok ? CANNOT_PLAY : GONE) : AWAY;
  }

  #give(trouble) {
    this.trouble = trouble;
    this.#tell("trouble");
    this.#tell("state");
  }

  /** Hear one channel, counted from 0; null: all of them. */
  choose(channel) {
    this.channel = channel;
    this.#hear();
  }

  #hear(channel = this.channel) {
    this.ears.hear(channel, this.listening.output.channels?.number);
  }

  get playing() {
    return !this.audio.paused && !this.trouble;
  }

  get time() {
    return this.wanted;
  }

  /** Play everything from where it stands, or from a time. */
  play(from = this.wanted) {
    this.spans = this.speaker = null;
    this.#hear();
    this.seek(from >= this.listening.output.audioSeconds - 0.05 ? 0 : from);
    this.#start();
  }

  /** Play a speaker's turns alone, in their own channel where they have one, from the first that has not passed. */
  playOnly(speaker) {
    const next = speaker.turns.find((turn) => turn.end > this.wanted + 0.05) ?? speaker.turns[0];
    this.spans = speaker.turns;
    this.speaker = speaker.id;
    this.#hear(speaker.channel);
    if (next.start > this.wanted || next.end <= this.wanted) this.seek(next.start);
    this.#start();
  }

  pause() {
    this.#stopSpans();
    this.audio.pause();
  }

  toggle() {
    this.playing ? this.pause() : this.play();
  }

  seek(seconds) {
    this.wanted = Math.min(Math.max(0, seconds), this.listening.output.audioSeconds);
    if (this.audio.readyState) this.audio.currentTime = this.wanted;
    this.#tell("time");
  }

  #start() {
    if (this.passing) return this.#again(true);
    if (this.trouble) return;
    this.resume = true;
    this.ears.wake();
    // Refused where the source fails, of which "error" tells, or where it is paused meanwhile.
    this.audio.play().catch(() => {});
  }

  #stopSpans() {
    this.spans = this.speaker = null;
    this.resume = false;
    this.#hear();
    this.#tell("state");
  }

  /** Timeupdate comes four times a second: too seldom for a playhead, and for the ends of turns. */
  #tick() {
    if (this.audio.paused) return;
    this.#keepTime();
    requestAnimationFrame(() => this.#tick());
  }

  #keepTime() {
    if (!this.audio.readyState || this.audio.seeking || this.measuring) return;
    this.wanted = Math.min(this.audio.currentTime, this.listening.output.audioSeconds);
    if (this.playing && this.spans) this.#skip();
    this.#tell("time");
  }

  #skip() {
    const now = this.wanted;
    const next = this.spans.find((span) => span.end > now);
    if (!next) this.pause();
    else if (next.start > now) this.seek(next.start);
  }

  #tell(what) {
    this.dispatchEvent(new Event(what));
  }

  /** Stop, and give everything back. */
  close() {
    this.closed = true;
    this.audio.pause();
    this.audio.removeAttribute("src");
    this.audio.load();
    if (this.made) URL.revokeObjectURL(this.made);
    this.ears.close();
  }
}
