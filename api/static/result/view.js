// Part of a recording that a timeline shows: from, to; zoomed and moved within the whole.

/** Seconds that are shown at least. */
const LEAST_S = 2;

export class View {
  /** @param seconds length of the recording. */
  constructor(seconds) {
    this.seconds = Math.max(seconds, 0.1);
    this.whole();
  }

  whole() {
    this.from = 0;
    this.to = this.seconds;
  }

  get span() {
    return this.to - this.from;
  }

  get zoomed() {
    return this.span < this.seconds - 1e-6;
  }

  get closest() {
    return this.span <= Math.min(LEAST_S, this.seconds) + 1e-6;
  }

  /** Show `factor` times as long a part; the time `around` stays where it is. */
  zoom(factor, around) {
    const span = Math.min(this.seconds, Math.max(Math.min(LEAST_S, this.seconds), this.span * factor));
    const share = (around - this.from) / this.span;
    this.#place(around - share * span, span);
  }

  /** Move by seconds, as far as the recording goes. */
  pan(seconds) {
    this.#place(this.from + seconds, this.span);
  }

  /** Move so that a time is shown, a tenth from the left edge; returns whether that took a move. */
  follow(seconds) {
    if (seconds >= this.from && seconds <= this.to) return false;
    this.#place(seconds - this.span / 10, this.span);
    return true;
  }

  #place(from, span) {
    this.from = Math.min(Math.max(0, from), this.seconds - span);
    this.to = this.from + span;
  }

  x(seconds, width) {
    return ((seconds - this.from) / this.span) * width;
  }

  time(x, width) {
    return Math.min(this.seconds, Math.max(0, this.from + (x / width) * this.span));
  }
}
