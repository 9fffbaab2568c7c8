// Receipts of deletions: what was removed, with the checksums that prove which.

import { button, el, save } from "../common/dom.js";
import { counted, fullTime } from "../common/words.js";

/** Records that a receipt counts, as one and as many are called. */
const RECORDS = {
  spaces: ["space"],
  identities: ["person", "people"],
  samples: ["enrolled recording"],
  enrolments: ["enrolment"],
  verifications: ["verification"],
};

/** Return the list of receipts, as the API gave them; `{voices: 2}` stands for voices of this browser. */
export function receiptsOf(receipts) {
  const entries = receipts.map((receipt) => el("li", {}, title(receipt), checksums(receipt)));
  return el("ul", { className: "receipts" }, entries);
}

/** Return the button that saves receipts and errors as a JSON file. */
export function savingButton(record) {
  const day = new Date().toISOString().slice(0, 10);
  const text = () => `${JSON.stringify(record, null, 2)}\n`;
  return button("Save the receipts", () => save(text(), `timbre-receipts-${day}.json`, "application/json"));
}

function title({ jobId, url, spaceId, voices, deletedAt, removed }) {
  const time = deletedAt && el("span", { className: "soft" }, ` ${fullTime(deletedAt)}`);
  if (jobId) return ["Job ", el("code", {}, jobId), time];
  if (url) return ["Upload ", el("code", {}, url)];
  if (spaceId) return ["Space ", el("code", {}, spaceId), ": ", recordsOf(removed), time];
  return [`${counted(voices, "voice")} of this browser`];
}

function recordsOf(removed) {
  const some = Object.entries(removed).filter(([, number]) => number);
  const words = some.map(([kind, number]) => counted(number, ...(RECORDS[kind] ?? [kind, kind])));
  return words.join(", ") || "nothing in it";
}

function checksums({ jobId, sha256, removed = {} }) {
  const sums = jobId ? { result: removed.output, recording: removed.media } : { recording: sha256 };
  const known = Object.entries(sums).filter(([, sum]) => sum);
  return known.length > 0 && el("dl", {}, known.map(([what, sum]) => el("div", {},
    el("dt", {}, `SHA-256 of the ${what}`), el("dd", {}, el("code", {}, sum)))));
}
