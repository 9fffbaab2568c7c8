// Elements, live announcements, and numbers as people read them.

/**
 * Make an element. Properties are set as properties; those of `aria` and `data` as attributes of that family.
 * Children are elements or text, never markup: what clients name themselves cannot become part of the page.
 */
export function el(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) set(made, name, value);
  made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

function set(made, name, value) {
  if (value === null || value === undefined) return;
  if (name === "on") {
    for (const [event, listen] of Object.entries(value)) made.addEventListener(event, listen);
  } else if (name === "aria" || name === "data") {
    for (const [key, one] of Object.entries(value)) made.setAttribute(`${name}-${key}`, one);
  } else if (name in made) {
    made[name] = value;
  } else {
    made.setAttribute(name, value);
  }
}

/** Make a button; `listen` is called on a click. */
export function button(text, listen, properties = {}) {
  return el("button", { type: "button", on: { click: listen }, ...properties }, text);
}

/** Tell a screen reader, without moving its focus. */
export function announce(text) {
  document.querySelector("#announcer").textContent = text;
}

/** Replace the content of an element. */
export function fill(where, ...children) {
  where.replaceChildren(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return where;
}

/** Write seconds as a clock: 1:02.3, or 1:02 without `tenths`. */
export function clock(seconds, tenths = true) {
  const whole = tenths ? Math.round(seconds * 10) / 10 : Math.round(seconds);
  const minutes = Math.floor(whole / 60);
  const rest = (whole - minutes * 60).toFixed(tenths ? 1 : 0).padStart(tenths ? 4 : 2, "0");
  if (minutes < 60) return `${minutes}:${rest}`;
  return `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, "0")}:${rest}`;
}

/** Write a length of time: 8.4 s, and from a minute on a clock. */
export function length(seconds) {
  return seconds < 59.95 ? `${seconds.toFixed(1)} s` : clock(seconds, false);
}

/** Write a number of bytes with a unit. */
export function bytes(number) {
  const power = number < 1e3 ? 0 : number < 1e6 ? 1 : number < 1e9 ? 2 : 3;
  return `${(number / 1000 ** power).toFixed(power ? 1 : 0)} ${["bytes", "kB", "MB", "GB"][power]}`;
}

/** Save text or bytes as a file of the user's. */
export function save(content, name, type) {
  const url = URL.createObjectURL(new Blob([content], { type }));
  el("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** Copy text to the clipboard; without a clipboard (plain HTTP) select it. Returns whether it was copied. */
export async function copy(text, block) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    getSelection().selectAllChildren(block);
    return document.execCommand("copy");
  }
}
