// Deletion of everything that the service keeps for a client, and of what this browser remembers.

import { forgetAll, voices } from "../common/memory.js";
import { paced, pages } from "../common/pace.js";
import { spacesOf } from "../common/people.js";
import { sentenceOf } from "../common/words.js";

/** Times that a request is sent which the service cannot answer. */
const TRIES = 4;
const UNFINISHED = ["running", "created"];

/**
 * Delete a client's jobs with results and uploads, the uploads that remain, people where asked for, and the voices of
 * this browser. What cannot be deleted is told, and the rest goes on.
 *
 * @param {{people: boolean, signal: AbortSignal, onProgress: (what: string, done: number, all: number) => void,
 *   onWait: (error: Error) => void}} options
 * @returns {Promise<{receipts: object[], errors: {what: string, message: string}[], stopped: boolean}>}
 */
export async function deleteEverything(timbre, options) {
  const record = { receipts: [], errors: [], stopped: false };
  const sweep = new Sweep(timbre, options, record);
  try {
    await sweep.cancelJobs();
    await sweep.removeJobs();
    await sweep.removeUploads();
    if (options.people) await sweep.removePeople();
    forgetVoices(record);
  } catch (error) {
    if (!options.signal.aborted) throw error;
    record.stopped = true;
  }
  return record;
}

function forgetVoices({ receipts }) {
  receipts.push({ voices: voices().length });
  forgetAll();
}

class Sweep {
  constructor(timbre, { signal, onProgress, onWait }, record) {
    this.record = record;
    this.signal = signal;
    this.onProgress = onProgress;
    const options = { signal, onWait, tries: TRIES };
    this.ask = (method, path) => paced(() => timbre.call(method, path, undefined, { signal }), options);
  }

  /** Stop what runs, so that no worker goes on while the rest is deleted. */
  async cancelJobs() {
    for (const status of UNFINISHED) {
      const ids = await this.list("jobs", `/v2/jobs?limit=100&status=${status}`, ({ id }) => id);
      await this.all("Jobs canceled", ids, (id) => this.ask("POST", `/v1/jobs/${id}/cancel`), [404, 409]);
    }
  }

  async removeJobs() {
    const ids = await this.list("jobs", "/v2/jobs?limit=100", ({ id }) => id);
    await this.all("Jobs deleted", ids, (id) => this.receive("DELETE", `/v1/jobs/${id}`));
  }

  async removeUploads() {
    const keys = await this.list("uploads", "/v1/media?limit=1000", ({ url }) => url.slice("media://".length));
    await this.all("Uploads deleted", keys, (key) => this.receive("DELETE", `/v1/media/${key}`));
  }

  async removePeople() {
    const spaces = await this.attempt("people", () => spacesOf(this.ask));
    const path = (space) => `/v1/space?space=${encodeURIComponent(space)}`;
    await this.all("Spaces deleted", spaces ?? [], (space) => this.receive("DELETE", path(space)));
  }

  async receive(method, path) {
    this.record.receipts.push(await this.ask(method, path));
  }

  /** Return what a list names; all of it before any of it is deleted, since a deletion moves the pages. */
  async list(what, path, name) {
    const found = [];
    await this.attempt(what, async () => {
      for await (const item of pages((page) => this.ask("GET", page), path)) found.push(name(item));
    });
    return found;
  }

  /** Do the work for each name; a status of `fine` means that there was nothing left to do. */
  async all(what, names, work, fine = [404]) {
    for (const [done, name] of names.entries()) {
      this.onProgress(what, done, names.length);
      await this.attempt(name, () => work(name), fine);
    }
    if (names.length) this.onProgress(what, names.length, names.length);
  }

  async attempt(what, work, fine = []) {
    try {
      return await work();
    } catch (error) {
      if (this.signal.aborted) throw error;
      if (!fine.includes(error.status)) this.record.errors.push({ what, message: sentenceOf(error) });
      return undefined;
    }
  }
}
