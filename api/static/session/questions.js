// Questions at the beginning and the end of a session.

import * as memory from "../common/memory.js";
import { ask } from "../common/question.js";
import { counted } from "../common/words.js";

/** Tell whether the key that the address brings may take the place of the one in use, which is a client's. */
export async function mayReplace(client) {
  const answer = await ask("Another API key", "This address brings another API key. Use it, and leave the one that is "
    + `in use${client ? `, of ${client.name}` : ""}? If you did not expect this, stay: recordings would go to whoever `
    + "owns the other key.", [["Stay", "", "primary"], ["Use the other key", "use"]]);
  return answer === "use";
}

/** Ask what becomes of the voices at the end: `keep`, `forget`, or null where the session goes on. */
export async function voicesAtEnd() {
  const { length } = memory.voices();
  if (!length) return "keep";
  const them = length === 1 ? "it" : "them";
  if (memory.ownerId() === null) {
    return ask(`Forget the ${counted(length, "voice")}?`, "The service did not tell yet whose key this is. So this "
      + `browser cannot keep ${them} for you. Save ${them} first, under Compare.`,
      [["Stay signed in", "", "primary"], ["Forget, and sign out", "forget", "danger"]]);
  }
  return ask(`Keep the ${counted(length, "voice")} in this browser?`, `Only who signs in with a key of this client `
    + `sees ${them} here again. Do not keep ${them} on a computer of others.`,
    [["Keep", "keep", "primary"], ["Forget", "forget", "danger"], ["Stay signed in", "", "quiet"]]);
}
