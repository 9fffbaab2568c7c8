// One run: a recording is stored, a job asked for and followed to its end; it can be canceled at every stage.

import { Offline, patiently } from "../common/api.js";
import { uploadName } from "./given.js";

const MOST_TRIES = 5;
const isOffline = (error) => error instanceof Offline;

/** End of a run that a user, or another client, canceled. */
export class Canceled extends Error {
  constructor(jobId) {
    super("Canceled.");
    this.jobId = jobId;
  }
}

/** Failure of a job: its sentence as the message. */
class JobFailed extends Error {
  constructor({ jobId, output }) {
    super(output?.error ?? "The job failed.");
    this.code = output?.code ?? "unknown";
    this.jobId = jobId;
  }
}

export class Run {
  /** Aborted by a cancel: it stops what comes before the job. */
  #giving = new AbortController();
  /** Aborted when nobody looks on any more: the job itself goes on. */
  #watching = new AbortController();
  #jobId = null;

  /** @param card that of `progress.js`, which is told how far the run has come; set before the run begins. */
  constructor(timbre) {
    this.timbre = timbre;
    this.card = null;
    this.steps = [];
  }

  get left() {
    return this.#watching.signal.aborted;
  }

  /** Store what was given, unless it is, and ask for a job; returns its id. */
  async submit(given, wish) {
    try {
      if (!given.source) await this.#store(given);
      return await this.#ask(given, wish);
    } catch (error) {
      throw this.#giving.signal.aborted ? new Canceled() : error;
    }
  }

  async #ask(given, { path, body }) {
    this.steps = [...(given.steps ?? [])];
    this.card.step("Asking Timbre to listen");
    const sent = { url: given.source, ...body };
    const answer = await this.timbre.submit(path, sent, { signal: this.#giving.signal, steps: this.steps });
    this.card.note(answer.warning);
    return answer.jobId;
  }

  /** Upload a file, as often as the connection breaks; `given` gets its source and the requests that led to it. */
  async #store(given) {
    const { signal } = this.#giving;
    const onProgress = (share) => this.card.sending(share, given.file.size);
    const name = uploadName(given.file.name);
    for (let tries = 1; !given.source; tries++) {
      onProgress(0);
      const steps = [];
      try {
        given.source = await this.timbre.upload(given.file, name, { onProgress, signal, steps });
        given.steps = steps;
      } catch (error) {
        if (!isOffline(error) || tries === MOST_TRIES) throw error;
        this.card.step("The connection broke; trying again");
        await patiently(() => this.timbre.call("GET", "/v1/test", undefined, { signal }), signal);
      }
    }
  }

  /** Follow a job; returns it when it has succeeded, else rejects with Canceled or JobFailed. */
  async follow(jobId) {
    this.#jobId = jobId;
    if (this.#giving.signal.aborted && !this.left) this.cancel();
    const onState = (job) => this.card.state(job);
    const job = await this.timbre.follow(jobId, { onState, signal: this.#watching.signal, steps: this.steps });
    if (job.status === "canceled") throw new Canceled(jobId);
    if (job.status === "failed") throw new JobFailed(job);
    return job;
  }

  /** Cancel: the upload breaks off, or the job is told to end. A job that has ended meanwhile keeps its result. */
  async cancel() {
    this.#giving.abort();
    if (!this.#jobId) return;
    const tell = () => this.timbre.call("POST", `/v1/jobs/${this.#jobId}/cancel`);
    await patiently(tell, this.#watching.signal).catch(() => null);
  }

  /** Stop to look on, and to send; a job goes on. */
  leave() {
    this.#watching.abort();
    this.#giving.abort();
  }
}
