// The overview: how many runs ended how over time, and how long the runs of each job took.
import { Problem, getOverview } from "./api.js";
import { sleep, untilVisible } from "./clock.js";
import { fill, h } from "./dom.js";
import { counted, formatDuration, formatNumber, formatTime } from "./format.js";
import { durationPlot, statusPlot } from "./plots.js";
import { problemPanel, setConnection } from "./shell.js";
import { STATUSES, setTitle, statusBadge, statusWord } from "./status.js";
import { visibleLine } from "./text.js";

const AGAIN = 15_000;
const PERIODS = [
  ["1", "Last hour"],
  ["24", "Last 24 hours"],
  ["168", "Last 7 days"],
];

/** @typedef {import("./api.js").Overview} Overview */

/**
 * Show the overview.
 *
 * @param {HTMLElement} main
 * @param {{query: URLSearchParams, signal: AbortSignal}} route
 */
export function showOverview(main, { query, signal }) {
  setTitle(["Overview"]);
  const asked = query.get("hours") ?? "24";
  const place = h("div", { class: "overview-place" }, h("p", { class: "loading" }, "Loading…"));
  const select = h(
    "select",
    {},
    PERIODS.map(([value, label]) => h("option", { value }, label)),
  );
  select.value = PERIODS.some(([value]) => value === asked) ? asked : "24";
  const head = h(
    "header",
    { class: "page-head" },
    h("h1", { class: "page-title", tabindex: "-1" }, "Overview"),
    h("label", { class: "filter" }, h("span", {}, "Period"), select),
  );
  fill(main, h("div", { class: "overview" }, head, place));
  let turn = new AbortController();
  const start = () => {
    turn.abort();
    turn = new AbortController();
    signal.addEventListener("abort", () => turn.abort());
    poll(place, Number(select.value), turn.signal, start);
  };
  select.addEventListener("change", () => {
    history.replaceState(null, "", `#/overview?hours=${select.value}`);
    start();
  });
  start();
}

/**
 * @param {HTMLElement} place
 * @param {number} hours
 * @param {AbortSignal} signal
 * @param {() => void} again
 */
async function poll(place, hours, signal, again) {
  let shown = "";
  while (!signal.aborted) {
    await untilVisible(signal);
    try {
      const overview = await getOverview(hours, signal);
      if (signal.aborted) return;
      setConnection(false);
      const news = JSON.stringify(overview);
      if (news !== shown) fill(place, ...panels(overview, openDetails(place)));
      shown = news;
    } catch (error) {
      if (signal.aborted) return;
      const passing = error instanceof Problem && error.passing;
      setConnection(passing);
      if (shown === "") fill(place, problemPanel(error, again));
      if (!passing) return;
    }
    await sleep(AGAIN, signal);
  }
}

/** @param {HTMLElement} place Which tables the reader has opened; they stay open when the figures change. */
const openDetails = (place) => [...place.querySelectorAll("details")].map((each) => each.open);

/**
 * @param {Overview} overview
 * @param {boolean[]} open
 */
function panels(overview, open) {
  const totals = sum(overview.periods.map(({ counts }) => counts));
  const all = Object.values(totals).reduce((total, count) => total + count, 0);
  const statuses = STATUSES.filter((status) => totals[status] > 0);
  return [
    h(
      "ul",
      { class: "totals", "aria-label": "Runs in the period" },
      h("li", {}, h("strong", {}, formatNumber(all)), h("span", {}, all === 1 ? "run" : "runs")),
      statuses.map((status) => h("li", {}, h("strong", {}, formatNumber(totals[status])), statusBadge(status))),
    ),
    plotPanel(
      "Runs per status over time",
      statusPlot(overview, statuses),
      statusTable(overview, statuses),
      open[0],
      periodNote(overview),
    ),
    plotPanel(
      "Duration per job",
      durationPlot(overview),
      durationTable(overview),
      open[1],
      `Of the newest ${counted(overview.among, "run")} in the store, those that have started and ended.`,
    ),
  ];
}

/** @param {Overview} overview */
const periodNote = ({ width }) =>
  `Each bar is ${formatDuration(width).replace(/ 0 (s|min|h)$/, "")}, by when the runs were created.`;

/**
 * @param {string} title
 * @param {Element} plot
 * @param {Element} table
 * @param {boolean | undefined} open
 * @param {string} note
 */
function plotPanel(title, plot, table, open, note) {
  return h(
    "section",
    { class: "panel plot-panel", "aria-label": title },
    h("header", { class: "panel-head" }, h("h2", {}, title)),
    plot,
    h("p", { class: "plot-note" }, note),
    h(
      "details",
      { open: open === true },
      h("summary", {}, "Show as a table"),
      h("div", { class: "table-scroll", tabindex: "0", role: "region", "aria-label": `${title}, as a table` }, table),
    ),
  );
}

/** @param {Overview} overview @param {string[]} statuses */
function statusTable({ periods }, statuses) {
  const rows = periods.filter(({ counts }) => Object.values(counts).some((count) => count > 0)).reverse();
  return dataTable(
    ["Period", ...statuses.map(statusWord)],
    rows.map(({ start, counts }) => [
      formatTime(start),
      ...statuses.map((status) => formatNumber(counts[status] ?? 0)),
    ]),
  );
}

/** @param {Overview} overview */
function durationTable({ jobs, longer_than }) {
  return dataTable(
    ["Job", "Runs", ...longer_than.map((bound) => `≥ ${formatDuration(bound)}`)],
    jobs.map(({ job, runs, durations }) => [visibleLine(job), formatNumber(runs), ...durations.map(formatNumber)]),
  );
}

/** @param {string[]} head @param {string[][]} rows */
function dataTable(head, rows) {
  return h(
    "table",
    { class: "data" },
    h(
      "thead",
      {},
      h(
        "tr",
        {},
        head.map((name) => h("th", { scope: "col" }, name)),
      ),
    ),
    h(
      "tbody",
      {},
      rows.map(([first, ...rest]) =>
        h(
          "tr",
          {},
          h("th", { scope: "row" }, first),
          rest.map((cell) => h("td", {}, cell)),
        ),
      ),
    ),
  );
}

/** @param {Record<string, number>[]} counts */
function sum(counts) {
  /** @type {Record<string, number>} */
  const totals = {};
  for (const each of counts)
    for (const [status, count] of Object.entries(each)) totals[status] = (totals[status] ?? 0) + count;
  return totals;
}
