// Requests at the pace that the API allows, several at a time.

import { patiently } from "./api.js";

/**
 * Send a request, and again for as long as the minute's limit refuses it (429). Other errors are thrown; those that may
 * pass only after `tries`.
 *
 * @param {{signal?: AbortSignal, tries?: number, onWait?: (error: Error) => void}} options `onWait` is told why.
 */
export async function paced(ask, { signal, tries = 1, onWait } = {}) {
  let failures = 0;
  const { answer, error } = await patiently(async () => {
    try {
      return { answer: await ask() };
    } catch (problem) {
      if (problem.status !== 429 && ++failures >= tries) return { error: problem };
      onWait?.(problem);
      throw problem;
    }
  }, signal);
  if (error) throw error;
  return answer;
}

/** Do the work for each item, at most so many at a time. */
export async function each(items, most, work) {
  const left = [...items];
  const worker = async () => {
    while (left.length) await work(left.shift());
  };
  await Promise.all(Array.from({ length: most }, worker));
}

/** Yield the items of a list page by page; `path` ends where its cursor belongs. */
export async function* pages(ask, path) {
  let cursor = null;
  do {
    const { items, nextCursor } = await ask(cursor ? `${path}&cursor=${encodeURIComponent(cursor)}` : path);
    yield* items;
    cursor = nextCursor;
  } while (cursor);
}
