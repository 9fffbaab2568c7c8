// Export of a result: its turns as JSON, RTTM, SRT, WebVTT or CSV, and its voiceprint.

import { announce, button, el, save } from "../common/dom.js";

/** Format -> its name, its file's type. */
const FORMATS = {
  json: ["JSON", "application/json"],
  rttm: ["RTTM", "text/plain"],
  srt: ["SRT subtitles", "application/x-subrip"],
  vtt: ["WebVTT subtitles", "text/vtt"],
  csv: ["CSV table", "text/csv"],
};

/** Return the buttons that save a result; `names(format)` gives the names of speakers in a file. */
export function exportsOf(listening, names, { timbre }) {
  const error = el("p", { className: "error", role: "alert" });
  const row = el("div", { className: "row" });
  const act = (format) => () => saveTurns({ listening, names, timbre, format, error, row });
  if (listening.output.diarization) {
    row.append(...Object.entries(FORMATS).map(([format, [text]]) => button(text, act(format))));
  }
  if (listening.output.voiceprint) row.append(button("Voiceprint", () => saveVoiceprint(listening)));
  return el("div", {}, row, error);
}

async function saveTurns({ listening, names, timbre, format, error, row }) {
  const steps = [];
  error.textContent = "";
  try {
    const answer = await timbre.call(...requestFor(listening.jobId, format, names(format)), { steps });
    const text = typeof answer === "string" ? answer : `${JSON.stringify(answer, null, 2)}\n`;
    saveAs(text, `${stem(listening)}.${format}`, FORMATS[format][1]);
    note(listening, steps, row);
  } catch (problem) {
    error.textContent = problem.message;
  }
}

/** Return method, path and body; names go into the body, since an address has no room for those of many speakers. */
export function requestFor(jobId, format, names) {
  const path = `/v1/jobs/${jobId}/turns`;
  return Object.keys(names).length ? ["POST", path, { format, names }] : ["GET", `${path}?format=${format}`, undefined];
}

/** Add requests to those that are shown, once each. */
function note(listening, steps, row) {
  const known = new Set(listening.steps.map(sign));
  listening.steps.push(...steps.filter((one) => !known.has(sign(one))));
  row.dispatchEvent(new Event("timbre-steps", { bubbles: true }));
}

function sign({ method, path, body }) {
  return JSON.stringify([method, path, body]);
}

function saveVoiceprint(listening) {
  saveAs(listening.output.voiceprint, `${stem(listening)}.voiceprint.txt`, "text/plain");
}

function saveAs(text, name, type) {
  save(text, name, type);
  announce(`Saved as ${name}.`);
}

/** Return a file name for a recording, without its ending and without what no file system takes. */
function stem({ name }) {
  const bare = (name || "recording").replace(/\.[A-Za-z0-9]{1,5}$/, "").replace(/[^\p{L}\p{N} ._()-]+/gu, "_").trim();
  return bare.slice(0, 80) || "recording";
}
