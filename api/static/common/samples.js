// Requests as programs in curl, Python and JavaScript, in the style of those that the description of the API shows.

/** Longest list or object that is shown on one line, in characters. */
const LINE = 56;
const HELD = /^\/v1\/jobs\/[^/?]+\?wait=/;

/**
 * Return `{curl, Python, JavaScript}`: programs that send the same requests again.
 *
 * @param steps those of `api.js`. An upload's address and a job's id are taken from the answers before.
 * @param origin address of the service.
 */
export function samplesOf(steps, origin) {
  const actions = actionsOf(steps);
  return { curl: curl(actions, origin), Python: python(actions, origin), JavaScript: javascript(actions, origin) };
}

/** Return the name of the file that the requests send, or null. */
export function fileOf(steps) {
  return actionsOf(steps).find(({ does }) => does === "put")?.file ?? null;
}

/**
 * Return each step with what it `does`: `address` and `put` an upload, `ask` for a job, `wait` for one, or `call`.
 * `job` and `upload` are the names of variables; `known` where the job's was set before.
 */
function actionsOf(steps) {
  const ids = [...new Set(steps.map(idIn).filter(Boolean))];
  const asked = new Set();
  let uploads = 0;
  return steps.map((step, at) => {
    const does = deed(step, steps.slice(at + 1));
    if (does === "address") uploads++;
    const id = does === "ask" ? idIn(steps.slice(at + 1).find(waits)) : idIn(step);
    const known = asked.has(id);
    if (does === "ask" || does === "wait") asked.add(id);
    const names = { job: numbered("job", ids.indexOf(id) + 1), upload: numbered("upload", uploads) };
    return { ...step, ...names, does, known };
  });
}

function deed(step, later) {
  if (step.method === "PUT") return "put";
  if (step.path === "/v1/media/input") return "address";
  if (waits(step)) return "wait";
  return step.method === "POST" && step.body?.url && later.some(waits) ? "ask" : "call";
}

function waits({ method, path }) {
  return method === "GET" && HELD.test(path);
}

function idIn({ path }) {
  return /^\/v1\/jobs\/([^/?]+)/.exec(path)?.[1];
}

function numbered(name, number) {
  return number > 1 ? `${name}${number}` : name;
}

/** Return a path that quotes can hold, with `variable` for the id of a job that was asked for before. */
function pathOf({ path, known }, variable) {
  const safe = path.replace(/[!'"`$\\{}]/g, (one) => `%${one.charCodeAt(0).toString(16).padStart(2, "0")}`);
  return known ? safe.replace(/jobs\/[^/?]+/, () => `jobs/${variable}`) : safe;
}

/** Return JSON for reading: indented, with short lists and objects on one line. */
function jsonText(value, margin = "", indent = "  ") {
  const short = oneLine(value);
  if (short.length <= LINE || value === null || typeof value !== "object") return short;
  const inner = margin + indent;
  const items = Array.isArray(value)
    ? value.map((item) => jsonText(item, inner, indent))
    : Object.entries(value).map(([name, item]) => `${JSON.stringify(name)}: ${jsonText(item, inner, indent)}`);
  const [begin, end] = Array.isArray(value) ? "[]" : "{}";
  return `${begin}\n${inner}${items.join(`,\n${inner}`)}\n${margin}${end}`;
}

function oneLine(value) {
  if (Array.isArray(value)) return `[${value.map(oneLine).join(", ")}]`;
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  const items = Object.entries(value).map(([name, item]) => `${JSON.stringify(name)}: ${oneLine(item)}`);
  return `{${items.join(", ")}}`;
}

function curl(actions, origin) {
  return actions.map((action) => CURL[action.does](action, origin)).join("\n\n");
}

const CURL = {
  address: (action, origin) => `${action.upload.toUpperCase()}=$(${curlCall(action, origin)} | cut -d'"' -f4)`,
  put: ({ file, upload }) => `curl -sSf -T ${quoted(file)} "$${upload.toUpperCase()}"`,
  ask: (action, origin) => `${action.job.toUpperCase()}=$(${curlCall(action, origin)} | cut -d'"' -f4)`,
  wait: (action, origin) =>
    `${guard(action)}until ${curlCall(action, origin)} \\\n  | grep -E '"(succeeded|failed|canceled)"'; do sleep 1; done`,
  call: (action, origin) => curlCall(action, origin),
};

function curlCall(action, origin) {
  const { method, body, job } = action;
  const url = `${origin}${pathOf(action, `$${job.toUpperCase()}`)}`;
  const lines = [`curl -sSf "${url}"`, '-H "Authorization: Bearer $SERVICE_KEY"'];
  if (method !== (body === undefined ? "GET" : "POST")) lines.push(`-X ${method}`);
  if (body !== undefined) lines.push("-H 'Content-Type: application/json'", `-d ${quoted(jsonText(body))}`);
  return lines.join(" \\\n  ");
}

/** Return what ends the wait for a job that was refused: it would never end. */
function guard({ known, job }) {
  return known ? `test -n "$${job.toUpperCase()}" && ` : "";
}

/** Return text as one word of a shell. */
function quoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** Tell whether an answer may be other than JSON. */
function isText({ path }) {
  return /\/turns(\?|$)/.test(path);
}

function python(actions, origin) {
  const answer = actions.some(isText)
    ? 'response.json() if "json" in response.headers["Content-Type"] else response.text' : "response.json()";
  return `import os
${actions.some(waits) ? "import time\n" : ""}
import requests

API = ${JSON.stringify(origin)}
KEY = {"Authorization": "Bearer " + os.environ["SERVICE_KEY"]}


def call(method, path, body=None):
    response = requests.request(method, API + path, headers=KEY, json=body, timeout=60)
    response.raise_for_status()
    return ${answer}


${actions.map((action) => PYTHON[action.does](action)).join("\n")}`;
}

const PYTHON = {
  address: (action) => `${action.upload} = ${pythonCall(action)}`,
  put: ({ file, upload }) => `with open(${JSON.stringify(file)}, "rb") as recording:
    requests.put(${upload}["url"], data=recording, timeout=600).raise_for_status()`,
  ask: (action) => `${action.job} = ${pythonCall(action)}`,
  wait: (action) => `${action.job} = ${pythonCall(action)}
while ${action.job}["status"] in ("created", "running"):
    time.sleep(1)
    ${action.job} = ${pythonCall({ ...action, known: true })}
print(${action.job})`,
  call: (action) => `print(${pythonCall(action)})`,
};

function pythonCall(action) {
  const { method, body, known, job } = action;
  const path = `${known ? "f" : ""}"${pathOf(action, `{${job}['jobId']}`)}"`;
  const literal = body === undefined ? "" : `, ${pythonLiteral(jsonText(body, "", "    "))}`;
  return `call(${JSON.stringify(method)}, ${path}${literal})`;
}

/** Return JSON as Python: only its words for true, false and null differ, outside strings. */
function pythonLiteral(text) {
  const words = { true: "True", false: "False", null: "None" };
  return text.replace(/"(?:\\.|[^"\\])*"|true|false|null/g, (found) => words[found] ?? found);
}

function javascript(actions, origin) {
  const imports = [actions.some(({ does }) => does === "put") && 'import { readFile } from "node:fs/promises";\n',
    actions.some(waits) && 'import { setTimeout as sleep } from "node:timers/promises";\n'].filter(Boolean);
  const answer = actions.some(isText)
    ? 'response.headers.get("Content-Type").includes("json") ? response.json() : response.text()' : "response.json()";
  return `${imports.length ? `${imports.join("")}\n` : ""}const api = ${JSON.stringify(origin)};
const key = process.env.SERVICE_KEY;

async function call(method, path, body) {
  const response = await fetch(api + path, {
    method,
    headers: { Authorization: \`Bearer \${key}\`, "Content-Type": "application/json" },
    body: body && JSON.stringify(body),
  });
  if (!response.ok) throw new Error(await response.text());
  return ${answer};
}

${actions.map((action) => JAVASCRIPT[action.does](action)).join("\n")}`;
}

const JAVASCRIPT = {
  address: (action) => `const ${action.upload} = ${javascriptCall(action)};`,
  put: ({ file, upload }) =>
    `await fetch(${upload}.url, { method: "PUT", body: await readFile(${JSON.stringify(file)}) });`,
  ask: (action) => `let ${action.job} = ${javascriptCall(action)};`,
  wait: (action) => `${action.known ? "" : "let "}${action.job} = ${javascriptCall(action)};
while (["created", "running"].includes(${action.job}.status)) {
  await sleep(1000);
  ${action.job} = ${javascriptCall({ ...action, known: true })};
}
console.log(${action.job});`,
  call: (action) => `console.log(${javascriptCall(action)});`,
};

function javascriptCall(action) {
  const { method, body, known, job } = action;
  const path = pathOf(action, `\${${job}.jobId}`);
  const rest = body === undefined ? "" : `, ${jsonText(body)}`;
  return `await call(${JSON.stringify(method)}, ${known ? `\`${path}\`` : JSON.stringify(path)}${rest})`;
}
