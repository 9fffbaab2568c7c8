// The API key of this tab, and whose it is. It comes in the address's fragment, which no browser sends, or is typed in.

const KEY = "timbre.key";
const CLIENT = "timbre.client";

/** Sentence about a key that no request can carry. */
export const UNFIT = "This is no whole API key: it holds a sign that no key has, such as “…”, a space or a line "
  + "break. Copy it again from where it was made.";

/** Tell whether a key can be sent at all: in a header there is room for printable ASCII only. */
export function isFit(key) {
  return /^[\x21-\x7e]+$/.test(key);
}

/**
 * Take the key out of the address, in whose place `hash` is put; returns it, "" for one that is unfit, and null where
 * there is none.
 */
export function brought(hash = "") {
  const found = /^#key=(.*)$/.exec(location.hash);
  if (!found) return null;
  // This tab's list of pages and copied addresses hold no key then. The browser's history on disk may keep the first
  // address all the same: no page can change that.
  history.replaceState(null, "", location.pathname + location.search + hash);
  const key = decoded(found[1]);
  return isFit(key) ? key : "";
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return "";
  }
}

/** Return the key; null where none is known. */
export function key() {
  const kept = sessionStorage.getItem(KEY);
  return kept !== null && isFit(kept) ? kept : null;
}

export function keep(given) {
  sessionStorage.setItem(KEY, given);
}

/** Return whose the key is, `{id, name}`; null where the service did not tell yet. */
export function client() {
  try {
    const { of, id, name } = JSON.parse(sessionStorage.getItem(CLIENT));
    // The docs of the API, in the same tab, may have put another key in its place.
    return of === key() && typeof id === "string" ? { id, name } : null;
  } catch {
    return null;
  }
}

export function keepClient({ id, name }) {
  sessionStorage.setItem(CLIENT, JSON.stringify({ of: key(), id, name }));
}

export function forget() {
  for (const name of [KEY, CLIENT]) sessionStorage.removeItem(name);
}
