// View "Listen": give it a voice, follow the job, see the result.

import { askCard, problemBox } from "./ask-card.js";
import { chooseCard, watchDrops } from "./choose.js";
import { announce, button, el, fill } from "../common/dom.js";
import { givenAddress, givenFile } from "./given.js";
import * as memory from "../common/memory.js";
import { otherResult } from "./other-result.js";
import { progressCard } from "./progress.js";
import { recordCard } from "./record.js";
import { showResult } from "../result/result.js";
import { Canceled, Run } from "./run.js";

const SHOWN = ["voiceprint", "diarize", "identify"];
const BUSY = "A recording is being heard. Wait for its result, or cancel it; then give the next one.";
const JOB_ID = /^[0-9a-f-]{36}$/;

/**
 * Make the view; `hidden` gives the microphone back, `closed` ends all work, and `kept` is what was given and has no
 * result yet: as `given` among the tools of the next view it is there again.
 */
export function listenView(where, tools) {
  const listen = new Listen(where, tools);
  return {
    shown: (jobId) => listen.shown(jobId),
    hidden: () => listen.hidden(),
    closed: () => listen.closed(),
    kept: () => listen.kept(),
  };
}

/** One stage at a time: a voice is given, a question is asked, a run is followed, its result is shown. */
class Listen {
  #closing = new AbortController();
  /** What was given and not answered yet: it is kept until it is discarded. */
  #given = null;
  #recorder = null;
  #run = null;
  #result = null;
  /** Job that is followed or shown. */
  #jobId = "";
  /** Result that came while another view was open: it is drawn where there is room for it. */
  #waiting = null;
  #away = false;

  constructor(where, tools) {
    this.where = where;
    this.tools = tools;
    this.#given = tools.given ?? null;
    this.about = el("p", { className: "soft" },
      "Give Timbre a voice. It makes a voiceprint, or tells you who speaks when.");
    this.problem = el("div", {});
    this.area = el("div", { className: "stage" });
    const title = el("h1", { id: "listen-title" }, "Hear who speaks");
    this.corner = el("div", {});
    fill(where, el("div", { className: "title" }, title, this.corner, this.about), this.problem, this.area);
    watchDrops(where, (what) => this.take(what), this.#closing.signal);
    this.begin();
  }

  /** Show a job, or without one what was there when the view was left; a second click on "Listen" begins anew. */
  shown(jobId) {
    const back = this.#away;
    this.#away = false;
    if (JOB_ID.test(jobId) && jobId !== this.#jobId) return this.open(jobId);
    if (this.#waiting) this.answered(this.#waiting);
    if (back && !jobId && this.#jobId) this.place(this.#jobId);
    else if (!jobId && !this.#run && this.#jobId) this.begin();
  }

  hidden() {
    this.#away = true;
    this.#recorder?.stop();
  }

  kept() {
    return this.#given;
  }

  closed() {
    this.#closing.abort();
    this.leave();
  }

  /** Let go of what the stage holds: microphone, run, sound of a result. */
  leave() {
    this.#recorder?.discard();
    this.#run?.leave();
    this.#result?.close();
    this.#recorder = this.#run = this.#result = this.#waiting = null;
    this.#jobId = "";
  }

  stage(...children) {
    fill(this.problem);
    fill(this.corner);
    fill(this.area, ...children);
    this.about.hidden = !this.#recorder;
    this.where.classList.toggle("slim", !this.#recorder);
  }

  /** Write the job into the address, so that a reload or a bookmark leads back to it. */
  place(jobId) {
    this.#jobId = jobId;
    const address = jobId ? `#/listen/${jobId}` : "#/listen";
    if (!this.where.hidden && location.hash !== address) history.pushState(null, "", address);
  }

  begin() {
    if (this.#given) this.ask(this.#given);
    else this.give();
  }

  give() {
    this.leave();
    this.#given = null;
    this.#recorder = recordCard((given) => this.ask(given));
    this.stage(el("div", { className: "grid" }, this.#recorder.element, chooseCard((what) => this.take(what))));
  }

  /** Take a file or an address; what is unfit is named, and nothing else changes. */
  async take(what) {
    if (this.#run) return fill(this.problem, problemBox({ message: BUSY, calm: true }));
    try {
      this.ask(typeof what === "string" ? givenAddress(what) : await givenFile(what));
      this.place("");
    } catch (error) {
      fill(this.problem, problemBox(error));
    }
  }

  ask(given, problem = null) {
    this.leave();
    this.#given = given;
    const discard = () => {
      this.give();
      this.focus("button");
    };
    this.stage(askCard(given, { again: Boolean(problem), discard, listen: (wish) => this.start(given, wish) }));
    if (problem ?? given.problem) fill(this.problem, problemBox(problem ?? { message: given.problem }));
    this.focus("h2");
  }

  focus(selector) {
    if (!this.where.hidden) focusOn(this.area.querySelector(selector));
  }

  working(name) {
    this.leave();
    const run = new Run(this.tools.timbre);
    run.card = progressCard(name, () => run.cancel());
    this.#run = run;
    this.stage(run.card.element);
    this.focus("h2");
    return run;
  }

  /** Send what was given, and follow the job. */
  async start(given, wish) {
    const { name, file: blob = null } = given;
    const run = this.working(name);
    given.kind = wish.kind;
    const sent = given.source;
    try {
      const jobId = await run.submit(given, wish);
      const { source } = given;
      memory.noteJob(jobId, { source, name });
      await this.follow(run, { jobId, kind: wish.kind, name, source, blob });
    } catch (error) {
      if (error.code === "media_not_found" && blob && sent && !run.left) return this.startAnew(given, wish);
      this.failed(run, error);
    }
  }

  /** Send a file again whose upload is gone. */
  startAnew(given, wish) {
    given.source = null;
    return this.start(given, wish);
  }

  /** Open a job of the history. */
  async open(jobId) {
    const { name, source = null } = memory.job(jobId);
    const run = this.working(name ?? "Recording");
    try {
      await this.follow(run, { jobId, name, source, blob: null });
    } catch (error) {
      const askable = !run.left && source && error.jobId && !this.#given;
      if (askable) this.#given = { name, source, seconds: null, problem: "" };
      this.failed(run, error);
    }
  }

  async follow(run, about) {
    if (!run.left) this.place(about.jobId);
    const { output, kind, name } = await run.follow(about.jobId);
    if (run.left) return;
    const told = { kind: about.kind ?? kind ?? kindOf(output), name: about.name ?? name ?? "Recording" };
    this.answered({ ...about, ...told, output, steps: run.steps });
  }

  answered(listening) {
    const { jobId, kind } = listening;
    this.leave();
    this.#given = null;
    this.place(jobId);
    announce("The result is ready.");
    if (this.where.hidden) {
      this.#waiting = listening;
      return;
    }
    const shown = el("div", { className: "answer" });
    this.stage(shown);
    fill(this.corner, button("Give another voice", () => this.another()));
    this.where.classList.remove("slim");
    this.#result = (SHOWN.includes(kind) ? showResult : otherResult)(shown, listening, this.tools);
    focusOn(shown.querySelector("h1, h2, h3"));
  }

  another() {
    this.give();
    this.place("");
    this.focus("button");
  }

  failed(run, error) {
    if (run.left) return;
    const calm = error instanceof Canceled;
    const kept = calm && this.#given ? " What you gave is still here." : "";
    const problem = { message: error.message + kept, fields: error.fields, detail: detail(error), calm };
    if (this.#given) this.ask(this.#given, problem);
    else this.lost(problem);
    this.place("");
  }

  /** Tell of a job that cannot be shown. */
  lost(problem) {
    this.leave();
    this.stage(button("Give a voice", () => this.another(), { className: "primary" }));
    fill(this.problem, problemBox(problem));
    this.focus("button");
  }
}

function focusOn(element) {
  if (!element) return;
  if (element.tabIndex < 0) element.tabIndex = -1;
  element.focus();
}

function kindOf(output) {
  if (output.voiceprint) return "voiceprint";
  return output.identification ? "identify" : "diarize";
}

/** Return what an operator asks for. */
function detail({ code, requestId, jobId }) {
  const parts = [code && `Code: ${code}`, requestId && `request: ${requestId}`, jobId && `job: ${jobId}`];
  return parts.filter(Boolean).join(", ");
}
