// The page: signs in, then shows one view at a time, by the address's fragment (`#/listen`).

import { pause, Timbre } from "./common/api.js";
import { announce, fill } from "./common/dom.js";
import * as memory from "./common/memory.js";
import { compareView } from "./compare/compare.js";
import { historyView } from "./history/history.js";
import { listenView } from "./listen/listen.js";
import { mayReplace, voicesAtEnd } from "./session/questions.js";
import * as session from "./session/session.js";
import { signIn } from "./session/sign-in.js";
import { learnClient, tellClient, tellModel } from "./session/whose.js";

const VIEWS = { listen: listenView, compare: compareView, history: historyView };
/** How long the views wait to be told whose the key is; after that, what is remembered comes later. */
const PATIENCE_MS = 1000;
const main = document.querySelector("#main");
const tabs = document.querySelector(".tabs");
const signOut = document.querySelector("#sign-out");
const offline = document.querySelector("#offline");

/**
 * Views that were made, by name: each is `{shown?, hidden?, closed?}`. `shown(rest)` is given what follows the name in
 * the address; `closed` comes with the end of the session, and so does the abort of their `signal`.
 */
let views = {};
let open = null;
/** Aborted when the session ends. */
let running = new AbortController();
/** What a client had given when its key was refused: `{ownerId, given}`. */
let unsent = null;

async function start() {
  const key = session.key();
  tabs.hidden = signOut.hidden = !key;
  if (!key) return show(null);
  const { signal } = running;
  const mine = (listen) => (...told) => signal.aborted || listen(...told);
  const timbre = new Timbre(key, { unauthorized: mine(unauthorized), reachable: mine(reachable) });
  tellModel(timbre, signal);
  memory.followTabs(signal);
  await Promise.race([learnClient(timbre, signal), pause(PATIENCE_MS)]);
  if (signal.aborted) return;
  const given = unsent?.ownerId === memory.ownerId() ? unsent?.given : null;
  unsent = null;
  for (const [name, make] of Object.entries(VIEWS)) views[name] = make(section(name), { timbre, go, given, signal }) ?? {};
  route();
}

/** End the session: nothing of it stays in the tab. */
function end() {
  running.abort();
  running = new AbortController();
  for (const [name, view] of Object.entries(views)) {
    view.closed?.();
    fill(section(name));
  }
  views = {};
  open = null;
  session.forget();
  memory.close();
  tellClient(null);
}

function section(name) {
  return document.querySelector(`#${name}`);
}

/** Show a view, or the form for the key where there is none. */
function show(name, rest = "") {
  if (open !== views[name]) open?.hidden?.();
  open = views[name] ?? null;
  for (const one of main.querySelectorAll(":scope > section")) one.hidden = one.id !== (name ?? "sign-in");
  for (const tab of tabs.children) {
    if (tab.hash === `#/${name}`) tab.setAttribute("aria-current", "page");
    else tab.removeAttribute("aria-current");
  }
  open?.shown?.(rest);
}

/** Go to a view: `go("listen/<job id>")`. */
function go(where) {
  location.hash = `#/${where}`;
}

function route() {
  const [name, rest] = /^#\/(\w+)\/?(.*)$/.exec(location.hash)?.slice(1) ?? ["listen", ""];
  show(Object.hasOwn(VIEWS, name) ? name : "listen", rest);
}

function unauthorized() {
  unsent = { ownerId: memory.ownerId(), given: views.listen?.kept() };
  end();
  signIn(section("sign-in"), enter, "The service does not know this key, or it was revoked.");
  start();
}

function reachable(is) {
  if (is === offline.hidden) return;
  offline.hidden = is;
  const away = "Timbre cannot be reached. The page tries again by itself; what you gave is still here.";
  offline.textContent = is ? "" : away;
}

async function enter(key) {
  session.keep(key);
  await start();
  main.focus();
}

/** Sign in with a key that the address brought; another one than that in use only after a question. */
async function take(brought) {
  const held = session.key();
  if (!held && !brought) return signIn(section("sign-in"), enter, session.UNFIT);
  if (!held) return enter(brought);
  if (!brought || brought === held || !(await mayReplace(session.client()))) return undefined;
  leave();
  return enter(brought);
}

/** End the session for good: its jobs have names, recordings and addresses, which the next one must not meet. */
function leave() {
  memory.forgetJobs();
  end();
  history.replaceState(null, "", location.pathname + location.search);
}

signOut.addEventListener("click", async () => {
  const voices = await voicesAtEnd();
  if (!voices) return;
  if (voices === "forget") memory.forgetAll();
  leave();
  signIn(section("sign-in"), enter);
  start();
  announce("Signed out.");
});
addEventListener("hashchange", ({ oldURL }) => {
  const brought = session.brought(new URL(oldURL).hash);
  if (brought !== null) take(brought);
  else if (location.hash.startsWith("#/") && open) route();
});
const brought = session.brought();
signIn(section("sign-in"), enter);
// A key in use is not replaced, and a first one begins the session.
if (session.key() || !brought) start();
if (brought !== null) take(brought);
