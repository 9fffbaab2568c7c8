// Form for the API key, and where keys come from.

import { Offline, Timbre } from "../common/api.js";
import { button, el, fill } from "../common/dom.js";
import { isFit, UNFIT } from "./session.js";

/** Show the form; `enter` is called with a key that the service knows. */
export function signIn(where, enter, problem = "") {
  const field = el("input", { id: "key", type: "password", required: true, autocomplete: "off", spellcheck: false, placeholder: "sk_…" });
  const error = el("p", { className: "error", role: "alert" }, problem);
  const submit = button("Sign in", null, { type: "submit", className: "primary" });
  const form = el("form", { className: "card narrow", on: { submit: (event) => check(event, field, error, submit, enter) } },
    el("h1", { id: "sign-in-title" }, "Hear who speaks"),
    el("p", {}, "Timbre makes voiceprints, tells speakers apart and compares voices, on this machine alone."),
    el("label", { htmlFor: "key" }, "API key"),
    el("div", { className: "row" }, field, submit),
    error,
    el("details", {}, el("summary", {}, "Where do I get a key?"),
      el("p", {}, el("code", {}, "make run"), " prints one, and an address that opens this page signed in."),
      el("p", {}, "Make another with ", el("code", {}, 'make keys ARGS="create NAME"'), ", or in production with ",
        el("code", {}, "docker compose exec api python -m api.keys create NAME"), "."),
      el("p", {}, "It stays in this tab until you close it or sign out, and is sent to this service alone.")));
  fill(where, form);
}

async function check(event, field, error, submit, enter) {
  event.preventDefault();
  error.textContent = "";
  submit.disabled = true;
  const key = field.value.trim();
  const problem = await refusal(key);
  submit.disabled = false;
  if (!problem) return enter(key);
  error.textContent = problem.message;
  field.focus();
}

/** Return the error that keeps a key out; null where it is good, whatever else the service lacks just now. */
async function refusal(key) {
  if (!isFit(key)) return { message: UNFIT };
  try {
    await new Timbre(key, { unauthorized() {}, reachable() {} }).call("GET", "/v1/models");
    return null;
  } catch (problem) {
    return problem.status === 401 || problem instanceof Offline ? problem : null;
  }
}
