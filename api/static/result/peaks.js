// Waveform of a recording: decoded by the browser at a low rate, and kept as peaks alone.

import { isAsLong } from "../common/lengths.js";
import { greatest, Pyramid } from "./pyramid.js";

/** Rate at which sound is decoded: speech shows, and memory stays small. */
const RATE_HZ = 8000;
const PEAKS_PER_S = 200;
/** Longest recording that is decoded. The browser holds all of its sound meanwhile, at the file's own rate. */
const MOST_S = 40 * 60;
const MOST_BYTES = 300e6;
/** Channels that are drawn apart; of more than that only the loudest is. */
const MOST_APART = 2;

/** Peak of a recording in which nobody can be heard. */
const SILENT = 1e-4;

/** Reason why there is no waveform; the message is for people. */
export class NoWaveform extends Error {}

/** Refuse a recording that would take too much memory; `channels` is their number. */
export function checkLength(seconds, channels) {
  if (seconds * Math.max(1, channels / MOST_APART) <= MOST_S) return;
  throw new NoWaveform(`The waveform is left out: the recording is longer than ${MOST_S / 60} minutes.`);
}

/** Tell whether the peaks are of what the service heard: browsers read other tracks, leave gaps out, or stop early. */
export function areOf(peaks, { audioSeconds, diarization }) {
  const silent = diarization.length > 0 && peaks.every(({ peak }) => peak < SILENT);
  return !silent && isAsLong(peaks[0].seconds, audioSeconds);
}

/** Return the peaks of a recording's channels: a pyramid each. `bytes` is a Blob or the answer of a fetch. */
export async function peaksOf(bytes) {
  const size = bytes.size ?? Number(bytes.headers.get("Content-Length"));
  if (size > MOST_BYTES) throw new NoWaveform("The waveform is left out: the file is too large to be read here.");
  const sound = await decode(await bytes.arrayBuffer());
  const channels = Array.from({ length: sound.numberOfChannels }, (_, number) => sound.getChannelData(number));
  const peaks = channels.map(peaks200);
  const shown = peaks.length > MOST_APART ? [loudest(peaks)] : peaks;
  return shown.map((values) => new Pyramid(values, PEAKS_PER_S, greatest));
}

async function decode(buffer) {
  try {
    return await new OfflineAudioContext(1, 1, RATE_HZ).decodeAudioData(buffer);
  } catch {
    throw new NoWaveform("This browser cannot draw the waveform of this kind of file.");
  }
}

function peaks200(samples) {
  const step = RATE_HZ / PEAKS_PER_S;
  const peaks = new Float32Array(Math.ceil(samples.length / step));
  for (let at = 0; at < samples.length; at++) {
    const height = Math.abs(samples[at]);
    const peak = Math.floor(at / step);
    if (height > peaks[peak]) peaks[peak] = height;
  }
  return peaks;
}

function loudest(channels) {
  return channels[0].map((_, at) => Math.max(...channels.map((peaks) => peaks[at])));
}
