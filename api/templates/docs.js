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
