// Card that takes a file or an address; drops and pastes anywhere on the page.

import { button, el } from "../common/dom.js";

const ACCEPT = "audio/*,video/*,.amr,.au,.caf,.mka,.opus,.w64";

/** Return the card; `take` is called with a File or with the text of an address. */
export function chooseCard(take) {
  const input = el("input", { type: "file", accept: ACCEPT, hidden: true, aria: { label: "Recording" } });
  input.addEventListener("change", () => {
    if (input.files.length) take(input.files[0]);
    // The same file may be chosen again.
    input.value = "";
  });
  return el("div", { className: "card give" },
    el("h2", {}, "Give a recording"),
    el("div", { className: "drop" }, el("span", { className: "icon file", aria: { hidden: "true" } }),
      button("Choose a file", () => input.click()), el("p", { className: "soft" }, "or drop or paste it here"), input),
    addressForm(take),
    el("p", { className: "soft small" }, "Sound or video of nearly any kind, up to two hours and 1 GB."));
}

function addressForm(take) {
  const manners = { autocomplete: "off", spellcheck: false, placeholder: "https://" };
  const field = el("input", { id: "address", inputMode: "url", ...manners });
  const submit = (event) => {
    event.preventDefault();
    take(field.value);
  };
  return el("form", { noValidate: true, on: { submit } }, el("label", { htmlFor: "address" }, "Or paste its address"),
    el("div", { className: "row" }, field, button("Use it", null, { type: "submit" })));
}

/** Take what is dropped or pasted while `where` is shown, until `signal`; a file that is dropped replaces no page. */
export function watchDrops(where, take, signal) {
  const mark = (on) => where.classList.toggle("dropping", on);
  const over = (event) => {
    event.preventDefault();
    mark(!where.hidden);
  };
  const drop = (event) => {
    event.preventDefault();
    mark(false);
    if (!where.hidden) takeFrom(event.dataTransfer, take);
  };
  addEventListener("dragover", over, { signal });
  addEventListener("dragleave", (event) => event.relatedTarget === null && mark(false), { signal });
  addEventListener("drop", drop, { signal });
  addEventListener("paste", (event) => {
    const writing = event.target.closest?.("input, textarea") && !event.clipboardData.files.length;
    if (!where.hidden && !writing) takeFrom(event.clipboardData, take);
  }, { signal });
}

function takeFrom(data, take) {
  const text = data.getData("text/uri-list") || data.getData("text/plain");
  if (data.files.length) take(data.files[0]);
  else if (/^(https?|media|s3):/i.test(text.trim())) take(text);
}
