// Search among the people of the service, for a recording that it still has.

import { confidenceBar } from "./bar.js";
import { announce, button, el, fill } from "./dom.js";
import { requestsOf } from "./requests.js";
import { counted, sentenceOf, UNCALIBRATED } from "./words.js";

/** Return an offer to search a space for the dominant speaker of a recording, which shows what comes of it. */
export function searchOffer(name, source, space, { timbre, signal }) {
  const where = el("div", { className: "search" });
  const search = async () => {
    fill(where, el("p", { role: "status" }, "Listening to the recording …"));
    fill(where, await found(timbre, { url: source, space }, signal));
  };
  return fill(where, el("p", {}, `The recording that ${name} comes from may still be there. Who speaks most in it?`),
    button("Search the people of this service", search));
}

async function found(timbre, body, signal) {
  const steps = [];
  try {
    const { jobId } = await timbre.submit("/v1/search", body, { steps, signal });
    const job = await timbre.follow(jobId, { steps, signal });
    if (job.status !== "succeeded") throw new Error(job.output.error);
    announce(answerTo(job.output));
    return [matchesOf(job.output), requestsOf(steps)].flat();
  } catch (error) {
    return signal.aborted ? [] : [el("p", { className: "error", role: "alert" }, sentenceOf(error))];
  }
}

/** Return the candidates of a search, and the chance that it is none of them. */
export function matchesOf({ matches, nobody, searched, skipped, warning }) {
  return [
    el("p", {}, el("strong", {}, answerTo({ matches, searched }))),
    nobody === null && el("p", { className: "uncalibrated" }, UNCALIBRATED),
    el("ol", { className: "ranking" }, matches.map(({ identity, confidence }) => el("li", {},
      el("span", {}, identity), confidence === null ? null : confidenceBar(confidence, { brief: true })))),
    nobody !== null && el("p", { className: "soft" }, `That it is nobody of them: ${nobody} of 100.`),
    skipped > 0 && el("p", { className: "soft" },
      `${counted(skipped, "person", "people")} of another model could not be compared.`),
    warning && el("p", { className: "soft" }, warning),
  ];
}

function answerTo({ matches, searched }) {
  const people = counted(searched, "person", "people");
  return matches.length ? `The most likely of ${people}: ${matches[0].identity}.` : `Nobody of ${people} fits.`;
}
