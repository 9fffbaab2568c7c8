// Words for numbers and codes of the API: confidences, kinds and statuses of jobs, times.

/** Least confidences from which on a voice is accepted, by the names of the API's operating points. */
export const MARKS = [{ name: "balanced", at: 50 }, { name: "strict", at: 90 }, { name: "strictest", at: 99 }];

/** Ranges of a confidence, the highest first. The error rates behind them stand in models/README.md. */
const RANGES = [
  { from: 99, tone: "sure", words: "hardly ever a stranger",
    more: "Every mark accepts it. Many recordings of the right person do not come this far." },
  { from: 90, tone: "sure", words: "rarely a stranger",
    more: "Balanced and strict accept it. Few strangers come this far; not every recording of the right person does." },
  { from: 50, tone: "likely", words: "more likely the same person",
    more: "Balanced accepts it, strict does not: some strangers come this far too." },
  { from: 10, tone: "unlikely", words: "more likely somebody else",
    more: "No mark accepts it. The right person may fall here too: on the telephone, in noise, with little speech." },
  { from: 0, tone: "unlikely", words: "most likely somebody else",
    more: "No mark accepts it. Another mood, noise or little speech can bring the right person here, though rarely." },
];
const KINDS = {
  voiceprint: "Voiceprint",
  diarize: "Who speaks when",
  identify: "Who speaks when, by name",
  verify: "Check of a person",
  search: "Search for a person",
  enrol: "Enrolment of a person",
  enrolment: "Voiceprint of a person",
};
const STATUSES = { created: "Waiting", running: "Running", succeeded: "Done", failed: "Failed", canceled: "Canceled" };
const UNITS = [["day", 86_400], ["hour", 3600], ["minute", 60]];
const RELATIVE = new Intl.RelativeTimeFormat("en", { numeric: "auto" });

/** Sentence in place of a confidence, for a model that has none. */
export const UNCALIBRATED = "This model is not calibrated, so nobody can say how sure a comparison is.";

/** Return `{text, more, tone}` of a confidence: "90 of 100: rarely a stranger", what that means, and its family. */
export function confidenceWords(confidence) {
  const { words, more, tone } = RANGES.find((range) => confidence >= range.from);
  return { text: `${confidence} of 100: ${words}`, words, more, tone };
}

/** Return the kind of a job in words; records of older releases name none. */
export function kindWords(kind) {
  return KINDS[kind] ?? "Job";
}

export function statusWords(status) {
  return STATUSES[status] ?? status;
}

/** Return how long ago a time was: "5 minutes ago". */
export function ago(time, now = Date.now()) {
  const seconds = (now - Date.parse(time)) / 1000;
  const [unit, size] = UNITS.find(([, size]) => seconds >= size) ?? [];
  return unit ? RELATIVE.format(-Math.floor(seconds / size), unit) : "just now";
}

/** Return a time in full, in the user's own zone. */
export function fullTime(time) {
  return new Date(time).toLocaleString("en-GB", { dateStyle: "long", timeStyle: "medium" });
}

/** Return a number with its noun: "1 voice", "2 voices". */
export function counted(number, one, many = `${one}s`) {
  return `${number} ${number === 1 ? one : many}`;
}

/** Return the sentence of an error: those on the fields where the API gives some, without the fields' names. */
export function sentenceOf(error) {
  return error.fields?.map(({ message }) => message).join(" ") || error.message;
}
