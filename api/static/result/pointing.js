// Pointers, wheel and keys on a timeline: hear from there, zoom, move.

/** Pixels that a pointer may tremble in a click. */
const STILL = 6;
const WHEEL = 0.0025;

/** Clicks hear, drags move, two fingers or ctrl and the wheel zoom, hovering tells. */
export function onPointers(stage, timeline, signal) {
  const fingers = new Map();
  let dragged = false;
  const at = (event) => event.clientX - stage.getBoundingClientRect().left;
  const time = (event) => timeline.view.time(at(event), timeline.width);
  const on = (name, listen, options = {}) => stage.addEventListener(name, listen, { signal, ...options });
  on("pointerdown", (event) => {
    if (event.button) return;
    dragged = fingers.size > 0;
    fingers.set(event.pointerId, { from: at(event), x: at(event) });
  });
  on("pointermove", (event) => {
    timeline.tell(time(event));
    if (!fingers.has(event.pointerId)) return;
    const before = spread(fingers);
    const finger = fingers.get(event.pointerId);
    const moved = at(event) - finger.x;
    finger.x = at(event);
    if (fingers.size === 2) return pinch(timeline, fingers, before);
    dragged ||= Math.abs(finger.x - finger.from) > STILL;
    if (dragged && timeline.view.zoomed) drag(stage, event, timeline, moved);
  });
  on("pointerup", (event) => {
    if (fingers.delete(event.pointerId) && !dragged) timeline.player.play(time(event));
  });
  on("pointercancel", (event) => fingers.delete(event.pointerId));
  // Of a touch the canvas loses the capture to the stage, when a drag begins.
  on("lostpointercapture", (event) => event.target === stage && fingers.delete(event.pointerId));
  on("pointerleave", (event) => leave(event, fingers, timeline));
  on("wheel", (event) => turn(event, timeline, time(event)), { passive: false });
}

function leave(event, fingers, timeline) {
  fingers.delete(event.pointerId);
  timeline.tell(null);
}

function spread(fingers) {
  const [one, other] = [...fingers.values()];
  return other ? Math.abs(one.x - other.x) : 0;
}

function pinch(timeline, fingers, before) {
  const [one, other] = [...fingers.values()];
  const around = timeline.view.time((one.x + other.x) / 2, timeline.width);
  timeline.zoom(Math.max(1, before) / Math.max(1, spread(fingers)), around);
}

function drag(stage, event, timeline, moved) {
  stage.setPointerCapture(event.pointerId);
  timeline.pan((-moved / timeline.width) * timeline.view.span);
}

/** The wheel alone scrolls the page; with ctrl, which a touchpad's pinch sends too, it zooms; sideways it moves. */
function turn(event, timeline, around) {
  const sideways = event.shiftKey ? event.deltaY : event.deltaX;
  if (event.ctrlKey) timeline.zoom(Math.exp(event.deltaY * WHEEL), around);
  else if (timeline.view.zoomed && sideways) timeline.pan((sideways / timeline.width) * timeline.view.span);
  else return;
  event.preventDefault();
}

/** Arrows move the playhead, space plays, plus and minus zoom. */
export function onKeys(stage, timeline, signal) {
  const { player, view } = timeline;
  const by = (seconds) => () => timeline.step(player.time + seconds);
  const keys = {
    ArrowLeft: by(-1), ArrowRight: by(1), ArrowDown: by(-1), ArrowUp: by(1), PageDown: by(-10), PageUp: by(10),
    Home: () => timeline.step(0), End: () => timeline.step(view.seconds),
    " ": () => player.toggle(), Enter: () => player.toggle(),
    "+": () => timeline.zoom(1 / 2), "=": () => timeline.zoom(1 / 2), "-": () => timeline.zoom(2),
    0: () => timeline.zoom(Infinity), Escape: () => timeline.tell(null),
  };
  const act = (event) => {
    const key = keys[event.key];
    if (!key || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    key();
  };
  stage.addEventListener("keydown", act, { signal });
}

/** The overview moves a zoomed view to where it is pressed. */
export function onOverview(strip, timeline, signal) {
  const go = (event) => {
    if (!event.buttons) return;
    strip.setPointerCapture(event.pointerId);
    const { view, whole, width } = timeline;
    const x = event.clientX - strip.getBoundingClientRect().left;
    timeline.pan(whole.time(x, width) - (view.from + view.to) / 2);
  };
  for (const name of ["pointerdown", "pointermove"]) strip.addEventListener(name, go, { signal });
}
