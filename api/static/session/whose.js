// Whose the key is, and what serves it: in the header, and for the memory, which each client has of its own.

import { patiently } from "../common/api.js";
import * as memory from "../common/memory.js";
import * as session from "./session.js";

/** Learn which client the key is of, and open its memory; as often as it takes while the API is away. */
export async function learnClient(timbre, signal) {
  try {
    if (!session.client()) session.keepClient(await asked(timbre, signal));
    const client = session.client();
    tellClient(client);
    memory.openFor(client.id);
  } catch {
    // A refused key has ended the session. For any other error, what is remembered goes on waiting in this tab.
  }
}

async function asked(timbre, signal) {
  const user = await patiently(() => timbre.call("GET", "/v1/user", undefined, { signal }), signal);
  signal.throwIfAborted();
  return { id: user.id, name: user.alias ?? user.handle };
}

/** Show whose key is in use; nobody's for null. */
export function tellClient(client) {
  const where = document.querySelector("#client");
  where.textContent = client ? `Key of ${client.name}` : "";
  where.title = where.textContent;
  if (!client) document.querySelector("#model").textContent = "";
}

export async function tellModel(timbre, signal) {
  const { models = [] } = await timbre.call("GET", "/v1/models", undefined, { signal }).catch(() => ({}));
  const served = models.find((model) => model.default);
  if (signal.aborted || !served) return;
  const uncalibrated = served.calibrated ? "" : ", not calibrated";
  document.querySelector("#model").textContent = `Model ${served.handle}${uncalibrated}`;
}
