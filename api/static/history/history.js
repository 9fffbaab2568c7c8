// View "History": this client's jobs, page by page, and the deletion of one or of everything.

import { deletionCard } from "./deletion-card.js";
import { announce, button, el, fill } from "../common/dom.js";
import { jobRow } from "./job-row.js";
import { receiptsOf } from "./receipts.js";
import { sentenceOf, statusWords } from "../common/words.js";

const PAGE = 20;
const MOST = 100;
const REFRESH_MS = 2000;
const STATUSES = ["created", "running", "succeeded", "failed", "canceled"];

export function historyView(where, { timbre, go }) {
  const view = new HistoryView(where, timbre, go);
  return { shown: () => view.load(), closed: () => view.close() };
}

class HistoryView {
  constructor(where, timbre, go) {
    this.where = where;
    this.timbre = timbre;
    this.go = go;
    this.rows = new Map();
    this.status = el("select", { id: "status", on: { change: () => this.load() } },
      el("option", { value: "" }, "All"),
      STATUSES.map((status) => el("option", { value: status }, statusWords(status))));
    this.list = el("ul", { className: "jobs" });
    this.note = el("p", { className: "soft", role: "status" });
    this.more = button("Show more", () => this.next(), { hidden: true });
    this.receipts = el("div", {});
    fill(where,
      el("div", {}, el("h1", { id: "history-title" }, "History"),
        el("p", { className: "soft" }, "What was asked for with keys of this client, as long as results are kept.")),
      el("section", { className: "card", aria: { label: "Jobs" } },
        el("div", { className: "row" }, el("label", { htmlFor: "status" }, "Show"), this.status), this.receipts,
        this.list, this.note, this.more),
      deletionCard(timbre, { onEnd: () => this.load() }));
  }

  close() {
    this.closed = true;
    clearTimeout(this.timer);
  }

  /** Show the newest jobs of the chosen status, as many as were there or a page of them. */
  async load() {
    clearTimeout(this.timer);
    const limit = Math.min(MOST, Math.max(PAGE, this.shownFor === this.status.value ? this.rows.size : 0));
    if (this.shownFor !== this.status.value) this.clear();
    const page = await this.ask(limit);
    if (!page) return;
    // What a shorter page does not tell of stays as it was.
    const told = page.nextCursor ? page.items.at(-1).createdAt : "";
    for (const [id, row] of this.rows) if (row.job.createdAt >= told) this.forget(id, page.items);
    this.cursor = this.rows.size > page.items.length ? this.cursor : page.nextCursor;
    this.take(page.items);
    this.refreshLater();
  }

  async next() {
    const before = this.list.children.length;
    const page = await this.ask(PAGE, this.cursor);
    if (!page) return;
    this.cursor = page.nextCursor;
    this.take(page.items);
    announce(`${this.list.children.length - before} more.`);
    this.list.children[before]?.focus();
  }

  async ask(limit, cursor) {
    const status = this.status.value;
    const query = new URLSearchParams({ limit, ...(status && { status }), ...(cursor && { cursor }) });
    try {
      const page = await this.timbre.call("GET", `/v2/jobs?${query}`);
      this.note.textContent = "";
      return status === this.status.value ? page : null;
    } catch (error) {
      this.note.textContent = sentenceOf(error);
      this.refreshLater(true);
      return null;
    }
  }

  /** Show jobs among those that are there, the newest first; a row that stays the same is not touched. */
  take(jobs) {
    this.shownFor = this.status.value;
    for (const job of jobs) {
      const row = this.rows.get(job.id);
      if (row) row.tell(job);
      else this.rows.set(job.id, this.row(job));
    }
    this.sort();
    this.more.hidden = !this.cursor;
    const none = this.status.value ? "No such job." : "Nothing yet. What you listen to appears here.";
    this.note.textContent = this.rows.size || this.cursor ? "" : none;
  }

  row(job) {
    const listeners = { changed: () => this.load(), deleted: (receipt) => this.deleted(job, receipt) };
    return jobRow(job, { timbre: this.timbre, go: this.go, ...listeners });
  }

  sort() {
    const rows = [...this.rows.values()].sort((a, b) => (a.job.createdAt < b.job.createdAt ? 1 : -1));
    rows.forEach(({ element }, place) => {
      const there = this.list.children[place];
      if (there !== element) this.list.insertBefore(element, there ?? null);
    });
  }

  forget(id, unless = []) {
    if (unless.some((job) => job.id === id)) return;
    this.rows.get(id)?.element.remove();
    this.rows.delete(id);
  }

  clear() {
    for (const id of this.rows.keys()) this.forget(id);
    this.cursor = null;
  }

  deleted(job, receipt) {
    this.forget(job.id);
    const title = el("h3", { tabIndex: -1 }, "Deleted, with this receipt");
    fill(this.receipts, el("div", { className: "receipt" }, title, receiptsOf([receipt])));
    announce("Deleted.");
    title.focus();
  }

  /** Ask again while something runs and somebody looks, or where the answer failed. */
  refreshLater(always = false) {
    clearTimeout(this.timer);
    const unfinished = [...this.rows.values()].some(({ job }) => ["created", "running"].includes(job.status));
    if (this.closed || this.where.hidden || !(unfinished || always)) return;
    this.timer = setTimeout(() => this.load(), REFRESH_MS);
  }
}
