// Timeline of a conversation: axis, waveform, a lane for each speaker, playhead, tooltip, overview; zoomed and moved.

import { button, clock, el } from "../common/dom.js";
import { brush, heights, paint } from "./lanes.js";
import { paintOverview } from "./overview.js";
import { onKeys, onOverview, onPointers } from "./pointing.js";
import { View } from "./view.js";

const OVERVIEW = 22;
const ZOOM = 2;

export class Timeline {
  /** @param {import("./player.js").Player} player */
  constructor(conversation, player) {
    this.conversation = conversation;
    this.player = player;
    this.view = new View(conversation.seconds);
    this.whole = new View(conversation.seconds);
    this.peaks = null;
    this.#build();
    this.#watch();
    this.#say();
  }

  #build() {
    this.canvas = el("canvas", { aria: { hidden: true } });
    this.strip = el("canvas", { className: "overview", aria: { hidden: true } });
    this.playhead = el("div", { className: "playhead" });
    this.tooltip = el("div", { className: "tooltip", hidden: true });
    const aria = { label: "Position in the recording", valuemin: 0, valuemax: Math.round(this.view.seconds * 10) / 10 };
    this.stage = el("div", { className: "drawing", tabIndex: 0, role: "slider", aria },
      this.canvas, this.playhead, this.tooltip);
    this.zoomOut = button("−", () => this.zoom(ZOOM), { aria: { label: "Zoom out" } });
    this.zoomIn = button("+", () => this.zoom(1 / ZOOM), { aria: { label: "Zoom in" } });
    this.zoomAll = button("All", () => this.zoom(Infinity), { aria: { label: "All of the recording" } });
    const buttons = [this.zoomOut, this.zoomIn, this.zoomAll];
    this.tools = el("div", { className: "zoom", role: "group", aria: { label: "Zoom" } }, buttons);
    this.element = el("div", { className: "timeline" }, this.stage, this.strip);
  }

  #watch() {
    this.leave = new AbortController();
    const { signal } = this.leave;
    onPointers(this.stage, this, signal);
    onKeys(this.stage, this, signal);
    onOverview(this.strip, this, signal);
    this.sizes = new ResizeObserver(() => this.draw());
    this.sizes.observe(this.element);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw(), { signal });
    this.player.addEventListener("time", () => this.#moved(), { signal });
    this.player.addEventListener("state", () => this.#say(), { signal });
    this.stage.addEventListener("focus", () => this.#say(), { signal });
    this.stage.addEventListener("blur", () => this.tell(null), { signal });
  }

  /** Show the waveform: a pyramid of peaks for each channel. */
  showPeaks(peaks) {
    this.peaks = peaks;
    this.draw();
  }

  /** Paint anew, once a frame at most. */
  draw() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.#paint();
    });
  }

  #paint() {
    this.width = this.element.clientWidth;
    // A view that is hidden has no width, and is silent.
    if (!this.width) return this.player.pause();
    const { all } = heights(this.conversation.speakers, this.peaks);
    this.stage.style.height = `${all}px`;
    paint(brush(this.canvas, this.width, all), this);
    paintOverview(brush(this.strip, this.width, OVERVIEW), this, this.whole, OVERVIEW);
    this.zoomIn.disabled = this.view.closest;
    this.zoomOut.disabled = this.zoomAll.disabled = !this.view.zoomed;
    this.#placePlayhead();
  }

  #moved() {
    if (this.player.playing && this.view.follow(this.player.time)) this.draw();
    this.#placePlayhead();
    // A screen reader would tell of every change while it plays.
    if (!this.player.playing) this.#say();
  }

  #say() {
    const now = Math.round(this.player.time * 10) / 10;
    this.stage.setAttribute("aria-valuenow", now);
    this.stage.setAttribute("aria-valuetext", `${clock(now)} of ${clock(this.view.seconds)}, ${this.#who(now)}`);
  }

  #placePlayhead() {
    const x = this.view.x(this.player.time, this.width ?? 0);
    this.playhead.hidden = x < 0 || x > this.width;
    this.playhead.style.transform = `translateX(${x}px)`;
  }

  #who(seconds) {
    const names = this.conversation.at(seconds).map((turn) => this.conversation.name(turn.speaker));
    return names.length ? `${names.join(" and ")} speaking` : "nobody speaking";
  }

  /** Zoom by a factor around a time, the playhead's unless another is given. */
  zoom(factor, around = this.player.time) {
    const middle = around >= this.view.from && around <= this.view.to ? around : (this.view.from + this.view.to) / 2;
    factor === Infinity ? this.view.whole() : this.view.zoom(factor, middle);
    this.draw();
  }

  pan(seconds) {
    this.view.pan(seconds);
    this.draw();
  }

  /** Move the playhead, and what is shown with it. */
  step(seconds) {
    this.player.seek(seconds);
    if (this.view.follow(this.player.time)) this.draw();
    this.tell(this.player.time);
  }

  /** Show what is known of a time beside it, or nothing for null. */
  tell(seconds) {
    this.tooltip.hidden = seconds === null || !this.width;
    if (this.tooltip.hidden) return;
    const lines = this.#lines(seconds).map((line) => el("span", {}, line));
    this.tooltip.replaceChildren(el("b", {}, clock(seconds)), ...lines);
    const room = this.width - this.tooltip.offsetWidth;
    const x = Math.max(0, Math.min(room, this.view.x(seconds, this.width) + 12));
    this.tooltip.style.transform = `translateX(${x}px)`;
  }

  #lines(seconds) {
    const turns = this.conversation.at(seconds);
    if (!turns.length) return ["nobody speaks"];
    const { conversation } = this;
    const who = turns.map((turn) => `${conversation.name(turn.speaker)}, ${clock(turn.start)} to ${clock(turn.end)}`);
    const percent = conversation.sure?.over(seconds, seconds + 0.02) ?? conversation.confidence(turns[0]);
    return percent === undefined ? who : [...who, inWords(Math.round(percent))];
  }

  close() {
    this.leave.abort();
    this.sizes.disconnect();
  }
}

/** Write a confidence that it is this speaker. */
function inWords(percent) {
  const word = percent >= 90 ? "sure" : percent >= 70 ? "fairly sure" : "unsure";
  return `${word}: ${percent} of 100`;
}
