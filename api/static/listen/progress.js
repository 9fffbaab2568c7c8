// Card of work under way: the upload in bytes, then each step of the job in words, and a way to cancel.

import { announce, button, bytes, el } from "../common/dom.js";

const STEPS = {
  download: "Fetching the recording",
  decode: "Reading the sound",
  vad: "Finding speech",
  encode: "Listening to the voices",
  overlap: "Finding where people overlap",
  diarize: "Telling the speakers apart",
  link: "Joining the parts",
  embed: "Making the voiceprint",
  compare: "Comparing the voices",
  search: "Looking for the voices",
  transcribe: "Writing down the words",
};

/** Return `{element, sending(share, size), step(text), state(job), note(text)}`; `cancel` is called once at most. */
export function progressCard(name, cancel) {
  const { element, step, show, note } = card(name, stopButton(cancel));
  return {
    element,
    note,
    step: (text) => {
      step(text);
      show(null, "");
    },
    sending: (share, size) => {
      step("Sending the recording");
      show(share, `${bytes(share * size)} of ${bytes(size)}`);
    },
    state: (job) => {
      step(words(job));
      if (job.progress === undefined) show(null, "");
      else show(job.progress / 100, `${job.progress} %`);
    },
  };
}

/** Return the card and what writes on it: its step, how much of it is done, a note. */
function card(name, stop) {
  const title = el("h2", { className: "step", tabIndex: -1 }, "Beginning");
  const bar = el("progress", { max: 1, aria: { label: "Progress" } });
  const figures = el("p", { className: "soft figures" }, "\u00a0");
  const notes = el("p", { className: "soft small", hidden: true });
  const step = (text) => {
    if (title.textContent === text) return;
    title.textContent = text;
    announce(text);
  };
  const show = (share, text) => {
    if (share === null) bar.removeAttribute("value");
    else bar.value = share;
    figures.textContent = text || "\u00a0";
  };
  const element = el("div", { className: "card work" },
    el("p", { className: "soft name" }, name), title, bar, figures, notes, stop);
  const note = (text) => {
    notes.textContent = text ?? "";
    notes.hidden = !text;
  };
  return { element, step, show, note };
}

function stopButton(cancel) {
  const stop = button("Cancel", () => {
    stop.disabled = true;
    stop.textContent = "Canceling …";
    cancel();
  });
  return stop;
}

function words({ status, step }) {
  if (status === "created") return "Waiting for a free worker";
  return STEPS[step] ?? "Working on the recording";
}
