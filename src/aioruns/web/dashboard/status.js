// Shows a run's status everywhere the same: icon, word and colour; in the page, the title and the favicon.
import { h } from "./dom.js";
import { icon } from "./icons.js";

/** @typedef {import("./api.js").Status} Status */

/** @type {Status[]} */
export const ACTIVE = ["pending", "running", "cancelling"];
/** @type {Status[]} */
export const STATUSES = [...ACTIVE, "completed", "failed", "cancelled", "interrupted"];

// Colours of the favicon, legible on light and dark tabs.
/** @type {Record<string, string>} */
const DOTS = {
  pending: "#7c8594",
  running: "#3b82f6",
  cancelling: "#d97706",
  completed: "#16a34a",
  failed: "#e5484d",
  cancelled: "#7c8594",
  interrupted: "#a855f7",
};

/** @param {string} status */
export const isTerminal = (status) => !ACTIVE.includes(/** @type {Status} */ (status));

/** @param {string} status */
export const statusWord = (status) => (status === "cancelling" ? "cancelling…" : status);

/**
 * Make a badge.
 *
 * @param {string} status
 * @param {string} [extra] Another class.
 */
export function statusBadge(status, extra = "") {
  const name = STATUSES.includes(/** @type {Status} */ (status)) ? status : "pending";
  return h("span", { class: `status ${extra}`.trim(), data: { status } }, icon(name), statusWord(status));
}

/**
 * Bring a badge up to date; nothing happens if it is.
 *
 * @param {HTMLElement} badge
 * @param {string} status
 * @returns {HTMLElement} The badge that stands there now.
 */
export function updateBadge(badge, status) {
  if (badge.dataset.status === status) return badge;
  const fresh = statusBadge(status, [...badge.classList].filter((name) => name !== "status").join(" "));
  badge.replaceWith(fresh);
  return fresh;
}

/**
 * Set the page's title and favicon.
 *
 * @param {string[]} parts What the page shows, most special first.
 * @param {string} [status] Of the run that is shown.
 */
export function setTitle(parts, status) {
  const title = [...parts, ...(status ? [statusWord(status)] : [])].join(" · ");
  document.title = title ? `${title} — aioruns` : "aioruns";
  const dot = status ? `<circle cx="24" cy="24" r="7" fill="${DOTS[status]}" stroke="white" stroke-width="2"/>` : "";
  const mark =
    '<rect width="32" height="32" rx="8" fill="#3b5bdb"/>' +
    '<path d="M8 11h9M8 16h16M8 21h12" stroke="white" stroke-width="3" stroke-linecap="round"/>';
  const image = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">${mark}${dot}</svg>`;
  document.querySelector("link[rel=icon]")?.setAttribute("href", `data:image/svg+xml,${encodeURIComponent(image)}`);
}
