"use strict";

// Without this script the page shows the same; buttons and conveniences are added here.

async function copy(block) {
  try {
    await navigator.clipboard.writeText(block.textContent);
    return true;
  } catch {
    // The clipboard API exists only over HTTPS and on localhost.
    getSelection().selectAllChildren(block);
    return document.execCommand("copy");
  }
}

function addCopyButton(code) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Copy";
  button.setAttribute("aria-live", "polite");
  button.addEventListener("click", async () => {
    button.textContent = (await copy(code.querySelector("pre"))) ? "Copied" : "Selected";
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
  code.prepend(button);
}

function chooseLanguage(chosen) {
  const before = chosen.getBoundingClientRect().top;
  for (const radio of document.querySelectorAll(".samples input")) {
    radio.checked = radio.value === chosen.value;
  }
  // Samples above may have become longer or shorter.
  scrollBy(0, chosen.getBoundingClientRect().top - before);
}

for (const code of document.querySelectorAll(".code")) addCopyButton(code);

for (const samples of document.querySelectorAll(".samples")) {
  samples.addEventListener("change", (event) => chooseLanguage(event.target));
}

const contents = document.querySelector(".bar details");
contents.addEventListener("click", (event) => {
  if (event.target.closest("a")) contents.open = false;
});

// Try it: a form for each operation, made from this API's own description when it is opened.

/** Where the page at `/` keeps the key of this tab, too. */
const KEY = "timbre.key";
/** Longest text that is shown, in characters. */
const MOST_SHOWN = 100_000;
const BINARY = "application/octet-stream";
let operations;

/** Return an element with properties, and with texts or elements in it. */
function make(tag, properties, ...inner) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...inner);
  return element;
}

/** Get every operation by its id, once. */
async function describe() {
  const description = await (await fetch("openapi.json")).json();
  const found = {};
  for (const [path, item] of Object.entries(description.paths)) {
    for (const [method, one] of Object.entries(item)) {
      const parameters = [...(item.parameters ?? []), ...(one.parameters ?? [])];
      if (one.operationId) found[one.operationId] = { ...one, method: method.toUpperCase(), path, parameters };
    }
  }
  return found;
}

function addTryIt(article) {
  const details = make("details", { className: "call" }, make("summary", {}, "Try it"));
  details.addEventListener("toggle", async () => {
    if (!details.open || details.querySelector("form, .problem")) return;
    try {
      operations ??= await describe();
      details.append(tryForm(operations[article.id]));
    } catch {
      operations = undefined;
      details.append(make("p", { className: "problem" }, "The service cannot be reached. Reload this page to try again."));
    }
  });
  article.querySelector(".try").append(details);
}

/** Return the form of an operation. */
function tryForm(operation) {
  const button = make("button", { className: "primary" }, "Send");
  const answer = make("div", { className: "answer" });
  const form = make("form", {}, ...fields(operation), button, answer);
  form.setAttribute("aria-label", `Try ${operation.method} ${operation.path}`);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (form.ariaBusy === "true" || !isMeant(operation, form)) return;
    form.ariaBusy = "true";
    await send(operation, form, answer);
    form.ariaBusy = "false";
  });
  return form;
}

function fields(operation) {
  const key = operation.security?.length === 0 ? [] : [field("API key", keyInput())];
  const parameters = operation.parameters.map((one) => field(one.name, parameterInput(one), one.in));
  return [...key, ...parameters, ...bodyFields(operation.requestBody?.content ?? {})];
}

function field(title, input, note = "") {
  const name = make("span", {}, title, ...(note ? [" ", make("small", {}, note)] : []));
  return make("label", {}, name, input);
}

function keyInput() {
  const input = make("input", { type: "password", className: "key", autocomplete: "off", required: true });
  input.value = sessionStorage.getItem(KEY) ?? "";
  input.placeholder = "sk_...";
  input.addEventListener("input", () => {
    sessionStorage.setItem(KEY, input.value);
    for (const other of document.querySelectorAll("input.key")) other.value = input.value;
  });
  return input;
}

function parameterInput(one) {
  const words = one.schema.type === "boolean" ? ["true", "false"] : (one.schema.enum ?? []).filter((word) => word !== null);
  const input = words.length
    ? make("select", {}, ...["", ...words].map((word) => make("option", {}, word)))
    : make("input", { type: "text", autocomplete: "off", spellcheck: false });
  if (one.in === "path") input.addEventListener("input", () => input.setCustomValidity(pathFault(input.value)));
  return Object.assign(input, { name: `${one.in} ${one.name}`, required: one.required ?? false });
}

/** Return why a browser would send a path without this part of it; empty where it would not. */
function pathFault(part) {
  return /^\.\.?$/.test(part) ? "A browser takes . and .. out of a path; send this request with curl --path-as-is." : "";
}

function bodyFields(content) {
  const json = content["application/json"];
  if (json) return [field("Body", bodyInput(json), "JSON")];
  return BINARY in content ? [field("File", make("input", { type: "file", name: "file", required: true }))] : [];
}

function bodyInput(media) {
  const [example] = Object.values(media.examples);
  const text = pretty(example.value);
  return make("textarea", { name: "body", spellcheck: false, rows: Math.min(16, text.split("\n").length + 1), value: text });
}

function pretty(value) {
  return JSON.stringify(value, null, 2);
}

/** Ask before anything is deleted. */
function isMeant(operation, form) {
  const { pathname } = address(operation, new FormData(form));
  return operation.method !== "DELETE" || confirm(`DELETE ${pathname}\n\nThis cannot be undone. Send it?`);
}

/** Return the address of a request, which is of this page's own service. */
function address(operation, given) {
  const path = operation.path.replace(/{(\w+)}/g, (_, name) => encodeURIComponent(given.get(`path ${name}`)));
  const url = new URL(path.slice(1), new URL(".", location));
  for (const one of operation.parameters) {
    const value = given.get(`query ${one.name}`);
    if (value) url.searchParams.set(one.name, value);
  }
  return url;
}

function requestOptions(operation, form, given) {
  const headers = new Headers();
  const key = form.querySelector(".key");
  if (key) headers.set("Authorization", `Bearer ${key.value.trim()}`);
  for (const one of operation.parameters) {
    const value = given.get(`header ${one.name}`);
    if (value) headers.set(one.name, value);
  }
  const body = given.get("body") ?? given.get("file");
  if (body !== null) headers.set("Content-Type", given.has("body") ? "application/json" : BINARY);
  return { method: operation.method, headers, body, cache: "no-store" };
}

/** Send a request, and show its answer or that none came. */
async function send(operation, form, answer) {
  const status = make("p", { className: "status", role: "status" });
  answer.replaceChildren(status);
  const started = performance.now();
  try {
    const given = new FormData(form);
    const response = await fetch(address(operation, given), requestOptions(operation, form, given));
    const body = await response.blob();
    const ms = Math.round(performance.now() - started);
    status.append(make("b", { className: `s${String(response.status)[0]}` }, `${response.status} ${response.statusText}`));
    status.append(` in ${ms} ms. X-Request-Id: ${response.headers.get("X-Request-Id")}`);
    answer.append(await shown(body));
  } catch (error) {
    status.append(make("b", { className: "s5" }, "No answer"), `: ${error.message}. Is the service running?`);
  }
}

/** Return the body of an answer as an element: text to read, or a file to save. */
async function shown(body) {
  if (!/json|text/.test(body.type)) {
    const file = make("a", { href: URL.createObjectURL(body), download: "answer" }, `Save the answer: ${body.size} bytes`);
    return make("p", {}, file);
  }
  const text = readable(await body.text(), body.type);
  const cut = text.length > MOST_SHOWN ? `${text.slice(0, MOST_SHOWN)}\n... ${text.length - MOST_SHOWN} characters more` : text;
  const pre = make("pre", { tabIndex: 0, role: "group", ariaLabel: "Answer" }, cut);
  const block = make("div", { className: "code" }, pre);
  addCopyButton(block);
  return block;
}

function readable(text, type) {
  try {
    return type.startsWith("application/json") ? pretty(JSON.parse(text)) : text;
  } catch {
    return text;
  }
}

for (const article of document.querySelectorAll("article:has(.samples)")) addTryIt(article);
