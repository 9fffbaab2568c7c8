// Row of the history: one job, to open, cancel or delete.

import { askingButton } from "../common/confirm.js";
import { button, clock, el, fill } from "../common/dom.js";
import { forgetJob, job as remembered, sharesRecording } from "../common/memory.js";
import { ago, fullTime, kindWords, sentenceOf, statusWords } from "../common/words.js";

const UNFINISHED = ["created", "running"];
const TONES = { succeeded: " good", failed: " bad" };

/**
 * Return `{element, job, tell(job)}`; `tell` shows the job as it is now.
 *
 * @param {{changed: () => void, deleted: (receipt: object) => void}} listeners told after a cancellation or deletion.
 */
export function jobRow(job, { timbre, go, changed, deleted }) {
  const element = el("li", { tabIndex: -1 });
  const error = el("p", { className: "error", role: "alert" });
  const row = { element, job, tell };
  const attempt = async (method, path, then) => {
    try {
      then(await timbre.call(method, path));
    } catch (problem) {
      error.textContent = sentenceOf(problem);
      changed();
    }
  };
  const acts = {
    open: () => go(`listen/${job.id}`),
    cancel: () => attempt("POST", `/v1/jobs/${job.id}/cancel`, changed),
    remove: () => attempt("DELETE", pathOf(job.id), (receipt) => {
      forgetJob(job.id);
      deleted(receipt);
    }),
  };

  function tell(now) {
    const moved = now.status !== row.job.status;
    row.job = now;
    if (moved) render();
    else element.querySelector("time").textContent = ago(now.createdAt);
  }

  function render() {
    const focused = element.contains(document.activeElement);
    fill(element, about(row.job), actions(row.job, acts), error);
    if (focused) element.querySelector("button")?.focus();
  }

  render();
  return row;
}

function nameOf(job) {
  return remembered(job.id).name ?? job.name ?? "";
}

function about(job) {
  const name = nameOf(job);
  const length = Number.isFinite(job.audioSeconds) ? clock(job.audioSeconds, false) : null;
  return el("div", { className: "about" },
    el("h3", {}, kindWords(job.kind), name && ": ", el("span", { className: "source" }, name)),
    el("p", { className: "soft facts" },
      el("time", { dateTime: job.createdAt, title: fullTime(job.createdAt) }, ago(job.createdAt)),
      length && [" · ", el("span", { title: "Length of the recording" }, length)]),
    el("span", { className: `chip${TONES[job.status] ?? ""}` }, statusWords(job.status)));
}

/** Return the path that deletes a job; its recording stays while another result can be heard by it. */
function pathOf(jobId) {
  return `/v1/jobs/${jobId}${sharesRecording(jobId) ? "?keepMedia=true" : ""}`;
}

function lost(jobId) {
  return sharesRecording(jobId)
    ? "With its result? The recording stays, for another result." : "With its result and recording?";
}

function actions(job, { open, cancel, remove }) {
  const named = [nameOf(job), kindWords(job.kind)].filter(Boolean).join(": ");
  const unfinished = UNFINISHED.includes(job.status);
  return el("div", { className: "row actions" },
    button("Open", open, { className: "quiet", aria: { label: `Open ${named}` } }),
    unfinished && button("Cancel", cancel, { className: "quiet", aria: { label: `Cancel ${named}` } }),
    !unfinished && askingButton("Delete", {
      label: `Delete ${named}`, question: () => lost(job.id), yes: "Delete", act: remove,
    }, { className: "quiet" }));
}
