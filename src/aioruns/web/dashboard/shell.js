// What all views share: announcements, the banner of a lost connection, and how a problem is shown.
import { Problem } from "./api.js";
import { h, setText } from "./dom.js";
import { icon } from "./icons.js";
import { visible } from "./text.js";

const byId = (/** @type {string} */ id) => /** @type {HTMLElement} */ (document.getElementById(id));

/**
 * Let screen readers read something out.
 *
 * @param {string} text
 */
export function announce(text) {
  setText(byId("announcer"), text);
}

/**
 * Show or hide that the server is away.
 *
 * @param {boolean} lost
 */
export function setConnection(lost) {
  const banner = byId("connection");
  banner.hidden = !lost;
  setText(banner, lost ? "Disconnected, retrying…" : "");
}

/**
 * Show why there is nothing to show.
 *
 * @param {unknown} error
 * @param {() => void} again
 */
export function problemPanel(error, again) {
  const known = error instanceof Problem;
  const signedOut = known && error.status === 401;
  const title = signedOut
    ? "You are not signed in"
    : known && error.status === 404
      ? "Not found"
      : "This could not be loaded";
  const click = signedOut ? () => location.reload() : again;
  return h(
    "div",
    { class: "blank", role: "alert" },
    icon("warning"),
    h("p", { class: "blank-title" }, title),
    h("p", {}, visible(known ? error.message : String(error))),
    h("button", { type: "button", on: { click } }, icon("retry"), signedOut ? "Reload" : "Try again"),
  );
}
