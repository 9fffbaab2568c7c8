// Painting of the strip below a timeline: the whole recording, and the part of it that is shown.

import { colours, runs } from "./lanes.js";

/** Paint the whole recording as a strip, and the part of it that a timeline shows. */
export function paintOverview(pen, { conversation, view, width }, whole, height) {
  const look = colours();
  const [top, bar] = [height / 2 - 3, 6];
  pen.clearRect(0, 0, width, height);
  pen.fillStyle = look.mark;
  pen.fillRect(0, top, width, bar);
  for (const speaker of conversation.speakers) {
    pen.fillStyle = look.lane(speaker.colour);
    const all = runs(speaker.turns, { view: whole, width });
    for (const { left, right } of all) pen.fillRect(left, top, right - left, bar);
  }
  if (view.zoomed) paintWindow(pen, whole.x(view.from, width), whole.x(view.to, width), width, height, look);
}

function paintWindow(pen, left, right, width, height, look) {
  pen.globalAlpha = 0.6;
  pen.fillStyle = look.back;
  pen.fillRect(0, 0, left, height);
  pen.fillRect(right, 0, width - right, height);
  pen.globalAlpha = 1;
  pen.strokeStyle = look.ink;
  pen.lineWidth = 2;
  pen.beginPath();
  pen.roundRect(left + 1, 2, Math.max(6, right - left - 2), height - 4, 4);
  pen.stroke();
}
