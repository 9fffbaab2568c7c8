// What this browser remembers for a client: the shelf of voices, names of speakers, where a job's recording lies.
//
// Each client has a memory of its own. Until the service has told whose the key is, it waits in this tab.

import { randomId } from "./api.js";

const NAMES = ["jobs", "voices"];
/** Jobs whose names and sources are remembered; the oldest is forgotten first. */
const MOST_JOBS = 200;
/** Addresses that hold no secret: those of the web often have a signature in them. */
const HARMLESS = /^(media|s3):\/\//i;

let owner = null;
/** Other addresses, by job: they are never written down. */
const addresses = new Map();

/** Return the id of the client whose memory is open; null where it is not known. */
export function ownerId() {
  return owner;
}

/** Open a client's memory, and add to it what waits in this tab. */
export function openFor(clientId) {
  if (owner !== null) close();
  const [jobs, waiting] = [storedJobs(), voices()];
  const ids = new Set(waiting.map(({ id }) => id));
  forgetTab();
  owner = clientId;
  if (waiting.length) write("voices", [...voices().filter(({ id }) => !ids.has(id)), ...waiting]);
  if (Object.keys(jobs).length) write("jobs", { ...storedJobs(), ...jobs });
  changed();
}

/** Tell of voices that another tab changes, until `signal`. */
export function followTabs(signal) {
  addEventListener("storage", ({ key }) => key === place("voices")[1] && changed(), { signal });
}

/** Close the memory at the end of a session; of what waits in this tab nobody will know whose it was. */
export function close() {
  owner = null;
  addresses.clear();
  forgetTab();
}

function forgetTab() {
  for (const name of NAMES) sessionStorage.removeItem(`timbre.${name}`);
}

function place(name) {
  return owner === null ? [sessionStorage, `timbre.${name}`] : [localStorage, `timbre.${owner}.${name}`];
}

function read(name) {
  const [store, key] = place(name);
  try {
    return JSON.parse(store.getItem(key));
  } catch {
    return null;
  }
}

function write(name, value) {
  const [store, key] = place(name);
  store.setItem(key, JSON.stringify(value));
}

function remove(name) {
  const [store, key] = place(name);
  store.removeItem(key);
}

function changed() {
  dispatchEvent(new Event("timbre-voices"));
}

const isText = (value) => typeof value === "string";
const isTextOrNone = (value) => value === undefined || value === null || isText(value);
const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

function isVoice(one) {
  return isObject(one) && [one.id, one.name, one.voiceprint].every(isText) && isTextOrNone(one.source);
}

function isJob(one) {
  return isObject(one) && [one.source, one.name].every(isTextOrNone)
    && (one.names === undefined || (isObject(one.names) && Object.values(one.names).every(isText)));
}

/** Return the jobs that are written down; what has another shape, of an older page say, is as if it were not there. */
function storedJobs() {
  const found = read("jobs");
  return isObject(found) ? Object.fromEntries(Object.entries(found).filter(([, one]) => isJob(one))) : {};
}

/** Return what is known of a job: `{source?, name?, names}`; `names` are those given to its speakers. */
export function job(jobId) {
  const address = addresses.get(jobId);
  return { names: {}, ...storedJobs()[jobId], ...(address && { source: address }) };
}

/** Tell whether another job that is remembered has the same recording. */
export function sharesRecording(jobId) {
  const { source } = job(jobId);
  return Boolean(source) && Object.entries(storedJobs()).some(([id, one]) => id !== jobId && one.source === source);
}

/** Remember more of a job. */
export function noteJob(jobId, more) {
  if (more.source && !HARMLESS.test(more.source)) addresses.set(jobId, more.source);
  const { [jobId]: known, ...others } = storedJobs();
  const noted = withoutAddress({ names: {}, ...known, ...more });
  write("jobs", Object.fromEntries([...Object.entries(others), [jobId, noted]].slice(-MOST_JOBS)));
}

function withoutAddress(thing) {
  return thing.source && !HARMLESS.test(thing.source) ? { ...thing, source: null } : thing;
}

export function forgetJob(jobId) {
  const { [jobId]: _, ...others } = storedJobs();
  addresses.delete(jobId);
  write("jobs", others);
}

/** Return the voices of the shelf: `[{id, name, voiceprint, model, calibrated, seconds, from, source, at}]`. */
export function voices() {
  const found = read("voices");
  return Array.isArray(found) ? found.filter(isVoice) : [];
}

/** Put a voice on the shelf; returns it with its id. */
export function addVoice(voice) {
  const kept = withoutAddress({ ...voice, id: randomId(), at: new Date().toISOString() });
  write("voices", [...voices(), kept]);
  changed();
  return kept;
}

export function changeVoice(id, more) {
  write("voices", voices().map((voice) => (voice.id === id ? { ...voice, ...more } : voice)));
  changed();
}

export function removeVoice(id) {
  write("voices", voices().filter((voice) => voice.id !== id));
  changed();
}

/** Forget the names and sources of jobs. */
export function forgetJobs() {
  remove("jobs");
  addresses.clear();
}

/** Forget all of this client, but the key. */
export function forgetAll() {
  forgetJobs();
  remove("voices");
  changed();
}
