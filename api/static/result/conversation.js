// Who speaks when in a result: its speakers, each with a lane and a name, and their turns.

import * as memory from "../common/memory.js";
import { mean, Pyramid } from "./pyramid.js";

/** Colours that theme.css has for lanes; further speakers take them again, with a pattern. */
const COLOURS = 8;
const MOST_LETTERS = 100;
const SUBTITLES = ["srt", "vtt"];

export class Conversation {
  /** @param listening see result.js; its `output` has a `diarization`. */
  constructor({ jobId, output }) {
    this.jobId = jobId;
    this.seconds = output.audioSeconds;
    this.turns = [...output.diarization].sort((one, other) => one.start - other.start);
    /** Turns with their words, where those were asked for. */
    this.words = output.turnLevelTranscription ?? null;
    this.channels = output.channels;
    this.matches = Object.fromEntries((output.voiceprints ?? []).map((match) => [match.speaker, match]));
    this.speakers = output.speakers.map((spoken, number) => this.#speaker(spoken, number));
    this.byId = new Map(this.speakers.map((speaker) => [speaker.id, speaker]));
    this.given = memory.job(jobId).names;
    /** Confidence in each frame of the recording, where it was asked for. */
    this.sure = output.confidence ? framesOf(output.confidence) : null;
  }

  #speaker({ speaker, seconds, channel }, number) {
    const turns = this.turns.filter((turn) => turn.speaker === speaker);
    const [colour, pattern] = [(number % COLOURS) + 1, Math.floor(number / COLOURS)];
    return { id: speaker, seconds, channel, number, turns, colour, pattern };
  }

  /** Return the names that were given or recognised, by speaker. */
  names() {
    const found = Object.values(this.matches).filter((one) => one.match);
    return { ...Object.fromEntries(found.map((one) => [one.speaker, one.match])), ...this.given };
  }

  /** Return a speaker's name as it is shown. */
  name(id) {
    return this.names()[id] ?? unnamed(id);
  }

  /** Return the names for a file: people who read subtitles are told every name as it is shown here. */
  namesIn(format) {
    if (!SUBTITLES.includes(format)) return this.given;
    return Object.fromEntries(this.speakers.map(({ id }) => [id, this.name(id)]));
  }

  /** Name a speaker; an empty name takes the last one away. Returns the name that is shown from now on. */
  rename(id, given) {
    // Another tab may have named somebody meanwhile.
    const { [id]: _, ...others } = memory.job(this.jobId).names;
    const name = [...oneLine(given)].slice(0, MOST_LETTERS).join("").trimEnd();
    this.given = name ? { ...others, [id]: name } : others;
    memory.noteJob(this.jobId, { names: this.given });
    return this.name(id);
  }

  /** Return a speaker's share of the speech of all, 0 to 1. */
  share(speaker) {
    return speaker.seconds / (this.speakers.reduce((sum, one) => sum + one.seconds, 0) || 1);
  }

  /** Return the turns that are under way at a time. */
  at(seconds) {
    const begun = this.speakers.map(({ turns }) => turns[reached(turns, seconds)]);
    return begun.filter((turn) => turn && turn.end > seconds);
  }

  /** Return how sure a turn is of its speaker, 0 to 100; undefined where no confidence was asked for. */
  confidence(turn) {
    return turn.confidence?.[turn.speaker] ?? this.sure?.over(turn.start, turn.end);
  }

  /** Return the channel in which a speaker was heard; undefined for a mix of several. */
  channel(speaker) {
    const { number = 1, used = [] } = this.channels ?? {};
    return speaker.channel ?? (number > 1 && used.length === 1 ? used[0] : undefined);
  }

  /** Return the parts of a speaker's turns in which nobody else is heard, the longest first. */
  alone(speaker) {
    const apart = speaker.channel !== undefined;
    const others = this.turns.filter((turn) => !apart && turn.speaker !== speaker.id);
    return speaker.turns.flatMap((turn) => without(turn, others)).sort((one, other) => length(other) - length(one));
  }
}

/** Return the index of the last of sorted turns that has begun by a time; -1: none. */
export function reached(turns, seconds) {
  let low = 0;
  let high = turns.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (turns[middle].start <= seconds) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

/** Return the longest of segments, as many as last `most` seconds together; the last one is cut to fit. */
export function longest(segments, most) {
  const taken = [];
  let left = most;
  for (const { start, end } of segments) {
    if (left < 0.1) break;
    taken.push({ start, end: Math.min(end, Math.floor((start + left) * 1000) / 1000) });
    left -= taken.at(-1).end - start;
  }
  return taken.sort((one, other) => one.start - other.start);
}

function framesOf({ score, resolution }) {
  return new Pyramid(Float32Array.from(score), 1 / resolution, mean);
}

function length({ start, end }) {
  return end - start;
}

/** Return what is left of a segment outside others, which are sorted by their start. */
function without({ start, end }, others) {
  const left = [];
  let from = start;
  for (const other of others) {
    if (other.start >= end) break;
    if (other.end <= from) continue;
    if (other.start > from) left.push({ start: from, end: other.start });
    from = other.end;
  }
  if (from < end) left.push({ start: from, end });
  return left;
}

/** Return a name as exports take it: what controls or turns a text, and runs of white space, become single blanks. */
export function oneLine(text) {
  return text.replace(/[\p{Cc}\p{Cs}\p{Zl}\p{Zp}\u202A-\u202E\u2066-\u2069\s]+/gu, " ").trim();
}

/** Write the service's own name of a speaker as people count: SPEAKER_00 is Speaker 1. */
function unnamed(id) {
  const number = /^SPEAKER_(\d+)$/.exec(id)?.[1];
  return number === undefined ? id : `Speaker ${Number(number) + 1}`;
}
