// Client of Timbre's API: requests, uploads with progress, jobs followed to their end.

const POLL_MS = 300;
const RETRY_MS = 2000;
/** Seconds for which the server may hold a request for a job. */
const HOLD_S = 1;

/** Refusal by the API: its stable code, and its sentence as the message. */
export class ApiError extends Error {
  constructor(status, body, retryAfter) {
    super(body.message ?? `The service answered with status ${status}.`);
    this.status = status;
    this.code = body.code ?? "unknown";
    this.fields = body.errors ?? [];
    this.requestId = body.requestId;
    this.retryAfterMs = Number(retryAfter || 0) * 1000;
  }
}

/** Failure to reach the API at all. */
export class Offline extends Error {
  constructor() {
    super("Timbre cannot be reached. It may be stopped, or the network is away; what you gave is still here.");
    this.code = "offline";
  }
}

/** Request that led to a result, as "show me the request" prints it. */
export function step(method, path, body) {
  return { method, path, body };
}

export class Timbre {
  /**
   * @param {string} key API key.
   * @param {{unauthorized: () => void, reachable: (is: boolean) => void}} listeners told of a refused key, and whether
   *   the API answers.
   */
  constructor(key, listeners) {
    this.key = key;
    this.listeners = listeners;
  }

  /** Send a request; returns the answer's JSON, or its text for other types. `steps` collects what was sent. */
  async call(method, path, body, { signal, steps, headers } = {}) {
    steps?.push(step(method, path, body));
    const response = await this.#sent(path, {
      method,
      signal,
      headers: { Authorization: `Bearer ${this.key}`, ...(body && { "Content-Type": "application/json" }), ...headers },
      body: body && JSON.stringify(body),
    });
    const json = response.headers.get("Content-Type")?.includes("json");
    const answer = json ? await response.json() : await response.text();
    if (response.ok) return answer;
    if (response.status === 401) this.listeners.unauthorized();
    throw new ApiError(response.status, json ? answer : {}, response.headers.get("Retry-After"));
  }

  async #sent(path, options) {
    try {
      // From the page's own folder: a proxy may serve Timbre below a path.
      const response = await fetch(`.${path}`, options);
      this.listeners.reachable(true);
      return response;
    } catch (error) {
      if (error.name === "AbortError") throw error;
      this.listeners.reachable(false);
      throw new Offline();
    }
  }

  /** Store a file under a name; returns its media:// address. `onProgress` is given the share that was sent. */
  async upload(file, name, { onProgress, signal, steps } = {}) {
    const url = `media://${name}`;
    const { url: address } = await this.call("POST", "/v1/media/input", { url }, { signal, steps });
    steps?.push({ ...step("PUT"), file: file.name ?? name.split("/").at(-1) });
    await put(reached(address), file, onProgress, signal);
    return url;
  }

  /** Return an address from which an upload can be heard, part by part. */
  async listenAt(url) {
    return reached((await this.call("POST", "/v1/media/output", { url })).url);
  }

  /** Ask for one job, however often the request is sent while the API is away; returns `{jobId, status, warning?}`. */
  submit(path, body, { signal, steps } = {}) {
    steps?.push(step("POST", path, body));
    const headers = { "Idempotency-Key": randomId() };
    // A request under way is not aborted: its job would run unseen.
    return patiently(() => this.call("POST", path, body, { headers }), signal, (error) => error instanceof Offline);
  }

  /** Follow a job until it ends; returns it. `onState` is given each answer before. It goes on when the API is away. */
  async follow(jobId, { onState, signal, steps } = {}) {
    steps?.push(step("GET", `/v1/jobs/${jobId}?wait=30`));
    for (;;) {
      const ask = () => this.call("GET", `/v1/jobs/${jobId}?wait=${HOLD_S}`, undefined, { signal });
      const job = await patiently(ask, signal);
      if (["succeeded", "failed", "canceled"].includes(job.status)) return job;
      onState?.(job);
      await pause(POLL_MS, signal);
    }
  }
}

/**
 * Return a signed address as this page may call it: one of the service itself from the page's own folder, since the
 * service may know itself by another name than the one that was opened. Addresses of S3 stay.
 */
export function reached(address) {
  const own = /\/v1\/media\/(?:upload|download)\/[\w.-]+$/.exec(address);
  return own ? `.${own[0]}` : address;
}

/** Return characters that nobody guesses; `crypto.randomUUID` is for https and localhost only. */
export function randomId() {
  const random = crypto.getRandomValues(new Uint8Array(12));
  return [...random].map((one) => one.toString(16).padStart(2, "0")).join("");
}

function isPassing(error) {
  return error instanceof Offline || error.status === 429 || error.status >= 500;
}

/** Ask again for as long as the API is away, overloaded or broken. */
export async function patiently(ask, signal, passing = isPassing) {
  for (;;) {
    try {
      return await ask();
    } catch (error) {
      if (!passing(error)) throw error;
      await pause(Math.max(RETRY_MS, error.retryAfterMs ?? 0), signal);
    }
  }
}

/** PUT a file by the one kind of request that tells how much of it was sent. */
function put(address, file, onProgress, signal) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("PUT", address);
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.upload.addEventListener("progress", (event) => {
      if (event.lengthComputable) onProgress?.(event.loaded / event.total);
    });
    request.addEventListener("load", () => (request.status < 300 ? resolve() : reject(refusal(request))));
    request.addEventListener("error", () => reject(new Offline()));
    request.addEventListener("abort", () => reject(new DOMException("The upload was canceled.", "AbortError")));
    signal?.addEventListener("abort", () => request.abort());
    signal?.aborted ? request.abort() : request.send(file);
  });
}

function refusal(request) {
  try {
    return new ApiError(request.status, JSON.parse(request.responseText), request.getResponseHeader("Retry-After"));
  } catch {
    return new ApiError(request.status, {}, null);
  }
}

/** Wait; rejects as soon as `signal` is aborted. */
export async function pause(ms, signal) {
  signal?.throwIfAborted();
  await new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, ms);
    signal?.addEventListener("abort", stop, { once: true });
  });
}
