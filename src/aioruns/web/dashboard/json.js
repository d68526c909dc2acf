// Shows JSON as text: indented, cut when it is large, and to be copied whole.
import { fill, h } from "./dom.js";
import { counted } from "./format.js";
import { icon } from "./icons.js";
import { visible } from "./text.js";

/** Characters that are shown until the reader asks for all. */
const MAX_SHOWN = 10_000;

/**
 * Make the panel of a JSON value.
 *
 * @param {string} title
 * @param {any} value
 */
export function jsonPanel(title, value) {
  const text = visible(JSON.stringify(value, null, 2));
  const copied = () => JSON.stringify(value, null, 2);
  return textPanel(title, text, copied);
}

/**
 * Make a panel of text.
 *
 * @param {string} title
 * @param {string} text
 * @param {() => string} copied What the copy button copies.
 */
function textPanel(title, text, copied) {
  const block = h(
    "pre",
    { class: "code", tabindex: "0", role: "region", "aria-label": title },
    text.slice(0, MAX_SHOWN),
  );
  const panel = h(
    "section",
    { class: "panel" },
    h("header", { class: "panel-head" }, h("h2", {}, title), copyButton(title, copied)),
    block,
  );
  if (text.length > MAX_SHOWN) {
    const showAll = () => {
      block.textContent = text;
      block.classList.add("whole");
      note.remove();
      block.focus({ preventScroll: true });
    };
    const note = h(
      "p",
      { class: "cut-note" },
      `The first ${counted(MAX_SHOWN, "character")} of ${counted(text.length, "character")}. `,
      h("button", { type: "button", class: "quiet", on: { click: showAll } }, "Show all"),
    );
    panel.append(note);
  }
  return panel;
}

/**
 * @param {string} title
 * @param {() => string} text
 */
function copyButton(title, text) {
  const button = h(
    "button",
    { type: "button", class: "icon-button", "aria-label": `Copy ${title.toLowerCase()}`, title: "Copy" },
    icon("copy"),
  );
  button.addEventListener("click", async () => {
    await copy(text());
    fill(button, icon("check"));
    setTimeout(() => fill(button, icon("copy")), 1500);
  });
  return button;
}

/**
 * Copy text, also on a page that the browser does not count as secure, such as one on plain HTTP in a company's network.
 *
 * @param {string} text
 */
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const held = document.activeElement;
    const field = h("textarea", { class: "visually-hidden", value: text });
    document.body.append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
    if (held instanceof HTMLElement) held.focus({ preventScroll: true });
  }
}
