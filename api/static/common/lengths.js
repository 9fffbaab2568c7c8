// Lengths of recordings, as the browser reads them and as the service does.

/** Most that lengths of a recording may differ, in seconds: codecs pad it. */
const TOLERANCE_S = 1;

/** Tell whether a browser's length of a recording is the service's. */
export function isAsLong(seconds, audioSeconds) {
  return Math.abs(seconds - audioSeconds) <= TOLERANCE_S;
}

/** Tell whether the browser but guesses the length of a file, or of one of that name: an mp3 need not tell its own. */
export function isGuessed(file, name) {
  return file?.type === "audio/mpeg" || /\.mp3$/i.test(name);
}
