// Voiceprint strings: found in a text, and read as far as people ask; api/README.md has the format.

/** Any voiceprint begins with these characters: base64 of `TMBR` and the first bits of the version. */
const FOUND = /VE1CUg[A-Za-z0-9+/]+={0,2}/;
const NONE = "There is no voiceprint in it: one is a long line that begins with VE1CUg.";
const DAMAGED = "The voiceprint is cut off or damaged; copy the whole of it, or save it again.";

/** Read the voiceprint that a text or JSON file holds; returns `{voiceprint, model, seconds}`, or throws an Error. */
export function readVoiceprint(text) {
  const voiceprint = FOUND.exec(text.replace(/\s+/g, ""))?.[0];
  if (!voiceprint) throw new Error(NONE);
  const view = decoded(voiceprint);
  const end = 6 + view.getUint8(5);
  const model = new TextDecoder().decode(new Uint8Array(view.buffer, 6, end - 6));
  const seconds = view.getFloat32(view.byteLength - 13, true);
  return { voiceprint, model, seconds };
}

function decoded(voiceprint) {
  try {
    const view = new DataView(Uint8Array.from(atob(voiceprint), (character) => character.charCodeAt(0)).buffer);
    const end = 6 + view.getUint8(5);
    const size = end + 2 + 4 * view.getUint16(end, true) + 13;
    const body = new Uint8Array(view.buffer, 0, size - 4);
    if (size === view.byteLength && view.getUint32(size - 4, true) === crc32(body)) return view;
  } catch {
    // Too short for what it announces, or no base64.
  }
  throw new Error(DAMAGED);
}

function crc32(bytes) {
  let crc = ~0;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit += 1) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc >>> 0;
}
