// Result of a job of which this page draws no picture: a verification, an enrolment, a search.

import { confidenceBar } from "../common/bar.js";
import { el, fill } from "../common/dom.js";
import { requestsOf } from "../common/requests.js";
import { matchesOf } from "../common/searching.js";
import { kindWords } from "../common/words.js";

/** Show the output in words where there are any, and as JSON, in the way of `showResult`. */
export function otherResult(where, { kind, name, output, steps }) {
  const words = inWords(output);
  fill(where, el("div", { className: "card" }, el("h2", {}, kindWords(kind), `: ${name}`), words,
    el("details", { open: !words }, el("summary", {}, "The whole result"),
      el("pre", { tabIndex: 0 }, JSON.stringify(output, null, 2))),
    requestsOf(steps)));
  return { close() {} };
}

function inWords(output) {
  if (output.matches) return matchesOf(output);
  return output.operatingPoint ? [confidenceBar(output.confidence)] : null;
}
