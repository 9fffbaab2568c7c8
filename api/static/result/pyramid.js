// Levels of ever fewer values, so that any stretch of a long recording is summed up at once.

const FACTOR = 8;
/** Values that are looked at for a stretch, at most some FACTOR times as many. */
const FINE = 2;

export const greatest = (values, from, to) => {
  let most = 0;
  for (let at = from; at < to; at++) if (values[at] > most) most = values[at];
  return most;
};

export const mean = (values, from, to) => {
  let sum = 0;
  for (let at = from; at < to; at++) sum += values[at];
  return sum / Math.max(1, to - from);
};

export class Pyramid {
  /**
   * @param values the finest level.
   * @param perSecond how many of them a second has.
   * @param sumUp `greatest` or `mean`.
   */
  constructor(values, perSecond, sumUp) {
    this.perSecond = perSecond;
    this.sumUp = sumUp;
    this.levels = [values];
    while (this.levels.at(-1).length > FACTOR) this.levels.push(coarser(this.levels.at(-1), sumUp));
  }

  get seconds() {
    return this.levels[0].length / this.perSecond;
  }

  get peak() {
    return this.sumUp(this.levels.at(-1), 0, this.levels.at(-1).length);
  }

  /** Sum up the values from one time to another, in seconds; undefined behind the end. */
  over(from, to) {
    let step = 1;
    let level = 0;
    const wide = (to - from) * this.perSecond;
    while (level < this.levels.length - 1 && wide >= step * FACTOR * FINE) {
      step *= FACTOR;
      level += 1;
    }
    const values = this.levels[level];
    const first = Math.max(0, Math.floor((from * this.perSecond) / step));
    const last = Math.min(values.length, Math.max(first + 1, Math.ceil((to * this.perSecond) / step)));
    return first < last ? this.sumUp(values, first, last) : undefined;
  }
}

function coarser(values, sumUp) {
  const made = new Float32Array(Math.ceil(values.length / FACTOR));
  for (let at = 0; at < made.length; at++) {
    made[at] = sumUp(values, at * FACTOR, Math.min(values.length, (at + 1) * FACTOR));
  }
  return made;
}
