// The level of a recording under way, drawn as bars that run from right to left.

import { el } from "../common/dom.js";

const BAR_PX = 3;
const STEP_PX = 6;
const FRAME_MS = 60;

/** Return `{element, follow(level), rest()}`: `follow` draws what `level()` gives until `rest`. */
export function wave() {
  const canvas = el("canvas", { className: "wave", aria: { hidden: "true" } });
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  let levels = [];
  let frame = 0;
  let drawn = 0;
  const tick = (now, level) => {
    if (now - drawn >= FRAME_MS) {
      drawn = now;
      levels = [...levels, level()].slice(still ? -1 : -Math.ceil(canvas.clientWidth / STEP_PX));
      draw(canvas, still ? Array(barsOf(canvas)).fill(levels[0]) : levels);
    }
    frame = requestAnimationFrame((next) => tick(next, level));
  };
  const rest = () => {
    cancelAnimationFrame(frame);
    levels = [];
    draw(canvas, levels);
  };
  new ResizeObserver(() => draw(canvas, levels)).observe(canvas);
  return { element: canvas, rest, follow: (level) => tick(performance.now(), level) };
}

function barsOf(canvas) {
  return Math.floor(canvas.clientWidth / STEP_PX);
}

/** Draw the newest level at the right; where there is none yet, a line of dots. */
function draw(canvas, levels) {
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  canvas.width = width * devicePixelRatio;
  canvas.height = height * devicePixelRatio;
  const pen = canvas.getContext("2d");
  pen.scale(devicePixelRatio, devicePixelRatio);
  pen.fillStyle = getComputedStyle(canvas).color;
  const bars = barsOf(canvas);
  for (let at = 0; at < bars; at++) {
    const level = levels[levels.length - bars + at];
    const tall = Math.max(BAR_PX, (level ?? 0) * height);
    pen.globalAlpha = level === undefined ? 0.25 : 1;
    pen.beginPath();
    pen.roundRect(at * STEP_PX + 1, (height - tall) / 2, BAR_PX, tall, BAR_PX / 2);
    pen.fill();
  }
}
