// Bar from 0 to 100 with the marks of balanced, strict and strictest, and a confidence in plain words.

import { el } from "./dom.js";
import { confidenceWords, MARKS, UNCALIBRATED } from "./words.js";

/**
 * Return the bar of a confidence; null means that the model is not calibrated, which has a sentence and no bar.
 *
 * @param {{brief?: boolean}} options `brief`, for lists, leaves out the names of the marks and what the number means.
 */
export function confidenceBar(confidence, { brief = false } = {}) {
  if (confidence === null) return el("p", { className: "uncalibrated" }, UNCALIBRATED);
  const { words, more, tone } = confidenceWords(confidence);
  return el("div", { className: `confidence ${tone}${brief ? " brief" : ""}` },
    el("p", { className: "verdict" }, el("strong", {}, String(confidence)), " of 100: ", el("span", {}, words)),
    track(confidence),
    !brief && marks(),
    !brief && el("p", { className: "soft" }, more));
}

function track(confidence) {
  const filled = el("span", { className: "filled" });
  filled.style.width = `${confidence}%`;
  return el("div", { className: "track", aria: { hidden: "true" } }, filled, MARKS.map(({ at }) => placed("tick", at)));
}

function marks() {
  return el("ul", { className: "marks", aria: { label: "Marks" } },
    MARKS.map(({ name, at }) => {
      const mark = placed("mark", at, "li");
      mark.append(name, " ", el("b", {}, String(at)));
      return mark;
    }));
}

function placed(className, at, tag = "span") {
  const made = el(tag, { className: `${className} at-${at}` });
  made.style.left = `${at}%`;
  return made;
}
