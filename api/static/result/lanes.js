// Painting of a timeline: axis, waveform, a lane for each speaker; only what is visible.

import { reached } from "./conversation.js";
import { clock } from "../common/dom.js";

const AXIS = 24;
const WAVE = 84;
const BAR = 2;
const PITCH = 3;
const LABEL = 17;
/** Steps of the time axis, in seconds. */
const STEPS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600];
const LEAST_BETWEEN = 72;
/** Opacity of speech in which there is no confidence at all, and how many steps there are from it to full. */
const PALEST = 0.15;
const SHADES = 12;
/** Pixels below which a turn is painted plainly. */
const SHORT = 5;
/** Speakers up to whom lanes are tall. */
const COMFORTABLE = 8;

/** Return heights in CSS pixels of a timeline: its parts, and all of it. */
export function heights(speakers, wave) {
  const bar = speakers.length > COMFORTABLE ? 10 : 16;
  const lane = LABEL + bar + 6;
  const top = AXIS + (wave ? WAVE + 8 : 4);
  return { bar, lane, top, all: top + lane * speakers.length + 4 };
}
/** Return the colours that the page has just now, light or dark. */
export function colours() {
  const style = getComputedStyle(document.documentElement);
  const named = (name) => style.getPropertyValue(`--${name}`).trim();
  const lanes = Array.from({ length: 9 }, (_, number) => named(`lane-${number}`));
  return { ink: named("ink"), soft: named("soft"), line: named("line"), mark: named("mark"), back: named("back"),
    lane: (number) => lanes[number] };
}

/** Fit a canvas to its place at the screen's own resolution; returns what to paint with. */
export function brush(canvas, width, height) {
  const scale = devicePixelRatio || 1;
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  const pen = canvas.getContext("2d");
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  return pen;
}

/**
 * Paint a timeline.
 *
 * @param scene `{conversation, view, peaks: Pyramid[] | null, width}`.
 */
export function paint(pen, scene) {
  const size = heights(scene.conversation.speakers, scene.peaks);
  const look = colours();
  pen.clearRect(0, 0, scene.width, size.all);
  paintAxis(pen, scene, look, size.all);
  if (scene.peaks) paintWaves(pen, scene, look);
  for (const speaker of scene.conversation.speakers) paintLane(pen, scene, look, speaker, size);
}

function paintAxis(pen, { view, width }, look, height) {
  const step = STEPS.find((one) => (one / view.span) * width >= LEAST_BETWEEN) ?? STEPS.at(-1);
  pen.font = "12px system-ui, sans-serif";
  for (let number = Math.ceil(view.from / step); number * step <= view.to; number++) {
    const x = Math.round(view.x(number * step, width));
    pen.fillStyle = look.line;
    pen.fillRect(x, AXIS - 6, 1, height);
    pen.fillStyle = look.soft;
    const text = clock(number * step, step < 1);
    // The last mark would be cut by the edge.
    if (x + pen.measureText(text).width + 4 <= width) pen.fillText(text, x + 4, 14);
  }
}

function paintWaves(pen, { conversation, view, peaks, width }, look) {
  const room = WAVE / peaks.length;
  const loud = Math.max(...peaks.map((one) => one.peak), 0.01);
  for (const [row, pyramid] of peaks.entries()) {
    const middle = AXIS + room * (row + 0.5);
    for (let x = 0; x < width; x += PITCH) {
      const [from, to] = [view.time(x, width), view.time(x + PITCH, width)];
      const height = Math.max(1, ((pyramid.over(from, to) ?? 0) / loud) * (room - 6));
      pen.fillStyle = colourAt(conversation, (from + to) / 2, row, look);
      pen.fillRect(x, middle - height / 2, BAR, height);
    }
  }
}

/** Return the colour of who speaks at a time in a channel; that of nobody in pauses and where several do. */
function colourAt(conversation, seconds, row, look) {
  const speakers = conversation.at(seconds).map((turn) => conversation.byId.get(turn.speaker));
  const here = speakers.filter(({ channel = row }) => channel === row);
  return here.length === 1 ? look.lane(here[0].colour) : look.soft;
}

function paintLane(pen, scene, look, speaker, { lane, bar, top }) {
  const y = top + lane * speaker.number;
  pen.fillStyle = look.mark;
  pen.fillRect(0, y + LABEL, scene.width, bar);
  for (const run of runs(speaker.turns, scene)) paintRun(pen, scene, run, { y: y + LABEL, bar, look, speaker });
  pen.font = "600 13px system-ui, sans-serif";
  pen.fillStyle = look.lane(speaker.colour);
  pen.fillText(fitted(pen, scene.conversation.name(speaker.id), scene.width - 4), 2, y + LABEL - 5);
}

function fitted(pen, text, width) {
  const needed = pen.measureText(text).width;
  return needed <= width ? text : `${text.slice(0, Math.floor((text.length * width) / needed) - 2)}…`;
}

/** Return the visible stretches of a lane in pixels; turns that meet on the screen become one. */
export function runs(turns, { view, width }) {
  const found = [];
  for (let at = Math.max(0, reached(turns, view.from)); at < turns.length && turns[at].start < view.to; at++) {
    if (turns[at].end <= view.from) continue;
    const left = Math.max(0, view.x(turns[at].start, width));
    const right = Math.min(width, Math.max(left + 1, view.x(turns[at].end, width)));
    const last = found.at(-1);
    if (last && left - last.right < 0.5) last.right = Math.max(last.right, right);
    else found.push({ left, right, turn: turns[at] });
  }
  return found;
}

function paintRun(pen, scene, run, { y, bar, look, speaker }) {
  if (run.right - run.left < SHORT) return paintShort(pen, scene, run, { y, bar, look, speaker });
  pen.save();
  pen.beginPath();
  pen.roundRect(run.left, y, run.right - run.left, bar, Math.min(4, (run.right - run.left) / 2));
  pen.clip();
  pen.fillStyle = look.lane(speaker.colour);
  for (const { left, right, shade } of shades(scene, run)) {
    pen.globalAlpha = shade;
    pen.fillRect(left, y, right - left, bar);
  }
  pen.globalAlpha = 1;
  if (speaker.pattern) paintPattern(pen, run, { y, bar, look, pattern: speaker.pattern });
  pen.restore();
}

/** Paint a run that is too short to have corners and shades; a long recording has thousands of them. */
function paintShort(pen, { conversation }, { left, right, turn }, { y, bar, look, speaker }) {
  pen.fillStyle = look.lane(speaker.colour);
  pen.globalAlpha = shade(conversation.confidence(turn) ?? 100);
  pen.fillRect(left, y, right - left, bar);
  pen.globalAlpha = 1;
}

/** Return parts of a run of one shade each: the surer, the fuller. */
function shades({ view, width, conversation }, { left, right, turn }) {
  if (!conversation.sure) return [{ left, right, shade: shade(conversation.confidence(turn) ?? 100) }];
  const parts = [];
  for (let x = left; x < right; x += BAR) {
    const end = Math.min(right, x + BAR);
    const found = shade(conversation.sure.over(view.time(x, width), view.time(end, width)) ?? 100);
    if (parts.at(-1)?.shade === found) parts.at(-1).right = end;
    else parts.push({ left: x, right: end, shade: found });
  }
  return parts;
}

/** Of two speakers the likelier one has 50 at least, so squares tell them apart better. */
function shade(percent) {
  return PALEST + ((1 - PALEST) * Math.round((percent / 100) ** 2 * SHADES)) / SHADES;
}

/** Mark the lanes of speakers whose colour others have too: slanting lines, upright ones for the next eight. */
function paintPattern(pen, { left, right }, { y, bar, look, pattern }) {
  pen.strokeStyle = look.back;
  pen.lineWidth = 2;
  pen.beginPath();
  const slant = pattern % 2 ? bar : 0;
  // Lines stand still when the view moves by whole steps only; so they begin at multiples.
  for (let x = Math.floor((left - slant) / 8) * 8; x < right; x += 8) {
    pen.moveTo(x, y + bar);
    pen.lineTo(x + slant, y);
  }
  pen.stroke();
}
