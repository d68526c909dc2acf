// Starts the dashboard: shows the view that the address names, and ends the one before.
import { ignoreDisabled } from "./focus.js";
import { showList } from "./list.js";
import { showOverview } from "./overview.js";
import { showRun } from "./run.js";
import { setConnection } from "./shell.js";
import { showStart } from "./start.js";
import { initTheme } from "./theme.js";

/** @typedef {{path: string[], query: URLSearchParams, signal: AbortSignal}} Route */
/** @type {Record<string, (main: HTMLElement, route: Route) => unknown>} */
const VIEWS = { "": showList, runs: showRun, start: showStart, overview: showOverview };

const main = /** @type {HTMLElement} */ (document.getElementById("main"));
let leaving = new AbortController();
let first = true;

/** Show what the address names. */
function show() {
  const [path, query] = location.hash.replace(/^#?\/?/, "").split("?", 2);
  const parts = path.split("/").map(decode);
  const name = Object.hasOwn(VIEWS, parts[0]) && (parts[0] !== "runs" || parts[1]) ? parts[0] : "";
  leaving.abort();
  leaving = new AbortController();
  setConnection(false);
  markLink(name);
  VIEWS[name](main, { path: parts, query: new URLSearchParams(query), signal: leaving.signal });
  if (!first) {
    window.scrollTo(0, 0);
    // The reader of a screen reader hears where the link has led; on the first view the browser says so itself.
    main.querySelector("h1")?.focus({ preventScroll: true });
  }
  first = false;
}

/** @param {string} part */
function decode(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** @param {string} name */
function markLink(name) {
  for (const link of document.querySelectorAll("nav a[data-view]")) {
    const here = /** @type {HTMLElement} */ (link).dataset.view === (name === "runs" ? "" : name);
    if (here) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

/** @param {KeyboardEvent} event */
function focusSearch(event) {
  const typing = event.target instanceof HTMLElement && event.target.matches("input, select, textarea");
  const field = main.querySelector("[data-search]");
  if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey || !field) return;
  event.preventDefault();
  /** @type {HTMLElement} */ (field).focus();
}

// The page's own address has a hash, so a link to "#main" would be taken for a view.
document.getElementById("skip")?.addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
document.addEventListener("keydown", focusSearch);
window.addEventListener("hashchange", show);
ignoreDisabled();
initTheme(/** @type {HTMLElement} */ (document.getElementById("theme")));
show();
