// The list of runs: live, filtered, paged; the address keeps what it shows.
import { Problem, listJobs, listRuns } from "./api.js";
import { eachSecond, sleep, untilVisible } from "./clock.js";
import { fill, h, setText } from "./dom.js";
import { keepFocus, setEnabled } from "./focus.js";
import { icon } from "./icons.js";
import { RunRow } from "./row.js";
import { announce, problemPanel, setConnection } from "./shell.js";
import { ACTIVE, STATUSES, setTitle } from "./status.js";

const LIMIT = 50;
const BUSY = 1000;
const QUIET = 3000;
const COLUMNS = ["Run", "Job", "Status", "Key", "Progress", "Started", "Duration"];

/**
 * Show the list.
 *
 * @param {HTMLElement} main
 * @param {{query: URLSearchParams, signal: AbortSignal}} route
 */
export function showList(main, { query, signal }) {
  setTitle(["Runs"]);
  const view = new ListView(query, signal);
  fill(main, view.element);
  eachSecond(() => view.tick(), signal);
  view.poll();
}

class ListView {
  /** @param {URLSearchParams} query @param {AbortSignal} signal */
  constructor(query, signal) {
    this.signal = signal;
    /** @type {Map<number, RunRow>} */
    this.rows = new Map();
    /** @type {number | null} */
    this.next = null;
    this.before = query.get("before") ?? "";
    this.turn = new AbortController();
    this.loaded = false;
    this.build(query);
  }

  /** @param {URLSearchParams} query */
  build(query) {
    const changed = () => this.filterSoon();
    const options = [
      ["", "Any status"],
      ["active", "Active"],
      ...STATUSES.map((status) => [status, status[0].toUpperCase() + status.slice(1)]),
    ];
    this.status = h(
      "select",
      { on: { change: () => this.filter() } },
      options.map(([value, label]) => h("option", { value }, label)),
    );
    const asked = query.get("status") ?? "";
    this.status.value = options.some(([value]) => value === asked) ? asked : "";
    this.jobs = h("datalist", { id: "known-jobs" });
    const field = (/** @type {string} */ name, /** @type {any} */ more = {}) =>
      h("input", {
        type: "search",
        autocomplete: "off",
        spellcheck: "false",
        value: query.get(name) ?? "",
        on: { input: changed },
        ...more,
      });
    this.job = field("job", { list: "known-jobs", "data-search": true });
    this.key = field("key");
    this.tag = field("tag");
    const labelled = (/** @type {string} */ text, /** @type {HTMLElement} */ control) =>
      h("label", { class: "filter" }, h("span", {}, text), control);
    this.body = h("tbody", { role: "rowgroup" });
    this.table = h(
      "table",
      { class: "runs", role: "table", "aria-label": "Runs" },
      h(
        "thead",
        { role: "rowgroup" },
        h(
          "tr",
          { role: "row" },
          COLUMNS.map((name) =>
            h("th", { role: "columnheader", scope: "col", class: `col-${name.toLowerCase()}` }, name),
          ),
        ),
      ),
      this.body,
    );
    this.blank = h("div", { class: "blank-place" }, h("p", { class: "loading" }, "Loading…"));
    this.newest = h("button", { type: "button", on: { click: () => this.page("") } }, icon("previous"), "Newest");
    this.older = h(
      "button",
      { type: "button", on: { click: () => this.page(String(this.next)) } },
      "Older",
      icon("next"),
    );
    this.range = h("p", { class: "range" });
    this.heading = h("h1", { class: "page-title", tabindex: "-1" }, "Runs");
    this.element = h(
      "div",
      { class: "list" },
      h(
        "header",
        { class: "page-head" },
        this.heading,
        h("a", { class: "button primary", href: "#/start" }, icon("plus"), "Start a run"),
      ),
      h(
        "form",
        {
          class: "filters",
          role: "search",
          "aria-label": "Filter the runs",
          on: { submit: (/** @type {Event} */ event) => event.preventDefault() },
        },
        labelled("Status", this.status),
        labelled("Job", this.job),
        labelled("Key", this.key),
        labelled("Tag", this.tag),
        this.jobs,
      ),
      h("div", { class: "panel table-panel" }, this.table, this.blank),
      h("nav", { class: "pages", "aria-label": "Pages" }, this.range, this.newest, this.older),
    );
    this.table.hidden = true;
    this.showPages();
    this.suggestJobs();
  }

  /** Offer the jobs that are known here in the filter; who may not list them types. */
  async suggestJobs() {
    const jobs = await listJobs(this.signal).catch(() => []);
    fill(
      this.jobs,
      jobs.map(({ name }) => h("option", { value: name })),
    );
  }

  /** What the reader has chosen, as it stands in the address. */
  get chosen() {
    const { status, job, key, tag, before } = this;
    const chosen = new URLSearchParams();
    for (const [name, value] of Object.entries({
      status: status.value,
      job: job.value,
      key: key.value,
      tag: tag.value.trim(),
      before,
    })) {
      if (value !== "") chosen.set(name, value);
    }
    return chosen;
  }

  filterSoon() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.signal.aborted || this.filter(), 200);
  }

  filter() {
    this.before = "";
    this.loaded = false;
    this.showAddress(false);
    this.poll();
  }

  /** @param {string} before */
  page(before) {
    this.before = before;
    this.loaded = false;
    this.showAddress(true);
    this.poll();
    window.scrollTo(0, 0);
    // Who asks for a page goes on reading at its top.
    this.heading.focus({ preventScroll: true });
  }

  /** @param {boolean} remember Whether the browser's "back" returns to what was shown. */
  showAddress(remember) {
    const query = this.chosen.toString();
    const address = query ? `#/?${query}` : "#/";
    if (remember) history.pushState(null, "", address);
    else history.replaceState(null, "", address);
  }

  /** Read the list now, and again and again while the page is visible. */
  async poll() {
    this.turn.abort();
    const turn = new AbortController();
    this.turn = turn;
    this.signal.addEventListener("abort", () => turn.abort());
    if (this.signal.aborted) return;
    while (!turn.signal.aborted) {
      await untilVisible(turn.signal);
      const again = await this.load(turn.signal);
      if (!again) return;
      await sleep(again, turn.signal);
    }
  }

  /**
   * Read the list once.
   *
   * @param {AbortSignal} signal
   * @returns {Promise<number>} Milliseconds until it should be read again; 0 for never.
   */
  async load(signal) {
    const chosen = this.chosen;
    const status = chosen.get("status") === "active" ? ACTIVE : chosen.get("status");
    try {
      const page = await listRuns({ ...Object.fromEntries(chosen), status, limit: LIMIT }, signal);
      if (signal.aborted) return 0;
      setConnection(false);
      this.show(page);
      return page.items.some((run) => run.active) ? BUSY : QUIET;
    } catch (error) {
      if (signal.aborted) return 0;
      const passing = error instanceof Problem && error.passing;
      if (passing) setConnection(true);
      if (!passing || !this.loaded) this.showBlank(problemPanel(error, () => this.poll()));
      return passing ? BUSY : 0;
    }
  }

  /** @param {{items: import("./api.js").RunSummary[], next: number | null}} page */
  show({ items, next }) {
    this.next = next;
    this.removeOthers(new Set(items.map(({ id }) => id)));
    let place = this.body.firstElementChild;
    for (const run of items) {
      const row = this.rows.get(run.id) ?? this.addRow(run);
      row.show(run);
      // A row that already stands where it belongs is not moved: it may have the focus.
      if (row.element === place) place = place.nextElementSibling;
      else this.body.insertBefore(row.element, place);
    }
    if (items.length === 0) this.showBlank(this.nothing());
    else this.hideBlank();
    this.loaded = true;
    setText(this.range, items.length > 0 ? `Runs ${items[items.length - 1].id} – ${items[0].id}` : "");
    this.showPages();
  }

  /** @param {Set<number>} wanted The ids of the runs whose rows stay. */
  removeOthers(wanted) {
    const held = document.activeElement?.closest("tr") ?? null;
    const index = [...this.body.rows].indexOf(held);
    const remove = () => {
      for (const [id, row] of this.rows) {
        if (wanted.has(id)) continue;
        row.element.remove();
        this.rows.delete(id);
      }
    };
    // The row that is in its place now, or the last one, takes the focus of a row that goes.
    const successor = () => this.body.rows[Math.min(index, this.body.rows.length - 1)]?.querySelector("a");
    keepFocus(this.body, remove, successor);
  }

  /** @param {import("./api.js").RunSummary} run */
  addRow(run) {
    const row = new RunRow(run);
    if (this.loaded && this.before === "") row.element.classList.add("fresh");
    this.rows.set(run.id, row);
    return row;
  }

  showPages() {
    setEnabled(this.older, this.next !== null);
    setEnabled(this.newest, this.before !== "");
  }

  /** @param {HTMLElement} what */
  showBlank(what) {
    if (this.blank.firstElementChild?.className === what.className && what.textContent === this.blank.textContent)
      return;
    keepFocus(this.element, () => {
      this.table.hidden = true;
      this.blank.hidden = false;
      fill(this.blank, what);
    });
  }

  hideBlank() {
    this.table.hidden = false;
    this.blank.hidden = true;
    fill(this.blank);
  }

  nothing() {
    const filtered = this.chosen.size > 0;
    const clear = () => {
      this.status.value = this.job.value = this.key.value = this.tag.value = "";
      this.filter();
      this.status.focus();
      announce("The filters are cleared");
    };
    return h(
      "div",
      { class: filtered ? "blank filtered" : "blank" },
      icon("empty"),
      h("p", { class: "blank-title" }, filtered ? "No run matches" : "No runs yet"),
      filtered
        ? h("button", { type: "button", on: { click: clear } }, "Clear the filters")
        : h("p", {}, h("a", { href: "#/start" }, "Start a run"), ", or let your application start one."),
    );
  }

  tick() {
    for (const row of this.rows.values()) row.tick();
  }
}
