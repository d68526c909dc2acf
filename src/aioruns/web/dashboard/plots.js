// Draws the two plots of the overview as SVG: stacked bars over time, and small histograms per job.
import { fill, h, svg } from "./dom.js";
import { counted, formatDuration, formatNumber, formatTime } from "./format.js";
import { statusWord } from "./status.js";
import { visibleLine } from "./text.js";

const HEIGHT = 220;
const LEFT = 40;
const BOTTOM = 24;
const TOP = 10;
const ROW = 40;
const JOBS = 15;
const TIME_OF_DAY = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const DAY = new Intl.DateTimeFormat("en-GB", { weekday: "short", day: "numeric" });

/** @typedef {import("./api.js").Overview} Overview */

/**
 * Draw how many runs have which status, by the period in which they were created; anew whenever its width changes.
 *
 * @param {Overview} overview
 * @param {string[]} statuses In the order of the stack, from below.
 */
export function statusPlot(overview, statuses) {
  const readout = h("p", { class: "plot-readout", "aria-hidden": "true" }, "\u00a0");
  const place = h("div", { class: "plot-place" });
  const legend = h(
    "ul",
    { class: "legend" },
    statuses.map((status) => h("li", {}, swatch(status), statusWord(status))),
  );
  let drawn = 0;
  const observer = new ResizeObserver(() => {
    const width = Math.round(place.clientWidth);
    if (width === drawn || width === 0) return;
    drawn = width;
    fill(
      place,
      drawStatusPlot(overview, statuses, width, (text) => (readout.textContent = text)),
    );
  });
  observer.observe(place);
  return h("div", { class: "plot" }, place, h("div", { class: "plot-foot" }, legend, readout));
}

/** @param {string} status */
const swatch = (status) =>
  svg(
    "svg",
    { class: "swatch", viewBox: "0 0 8 8", "aria-hidden": "true" },
    svg("rect", { class: `fill-${status}`, width: 8, height: 8, rx: 2 }),
  );

/**
 * @param {Overview} overview
 * @param {string[]} statuses
 * @param {number} width Pixels.
 * @param {(text: string) => void} read Shows what the pointer is at.
 */
function drawStatusPlot({ periods, width: seconds }, statuses, width, read) {
  const totals = periods.map(({ counts }) => Object.values(counts).reduce((sum, count) => sum + count, 0));
  const top = niceCeiling(Math.max(1, ...totals));
  const y = (/** @type {number} */ count) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - count / top);
  const step = (width - LEFT) / periods.length;
  const columns = periods.map(({ start, counts }, index) => {
    const x = LEFT + index * step;
    const present = statuses.filter((status) => counts[status] > 0);
    let below = 0;
    const bars = present.map((status) => {
      const from = y(below);
      below += counts[status];
      const height = Math.max(1, from - y(below));
      return svg("rect", { class: `fill-${status}`, x: x + step * 0.12, width: step * 0.76, y: from - height, height });
    });
    const area = svg("rect", { class: "plot-area", x, y: TOP, width: step, height: HEIGHT - TOP - BOTTOM });
    const parts = present.map((status) => `${formatNumber(counts[status])} ${statusWord(status)}`);
    const on = {
      pointerenter: () => read(`${formatTime(start)}: ${parts.join(", ") || "no runs"}`),
      pointerleave: () => read("\u00a0"),
    };
    return svg("g", { class: "plot-column", on }, area, bars);
  });
  const grid = [0, top / 2, top]
    .filter(Number.isInteger)
    .map((count) => [
      svg("line", { class: "plot-grid", x1: LEFT, x2: width, y1: y(count), y2: y(count) }),
      svg("text", { class: "plot-label", x: LEFT - 8, y: y(count) + 4, "text-anchor": "end" }, formatNumber(count)),
    ]);
  const all = totals.reduce((sum, count) => sum + count, 0);
  const label =
    `Stacked bars: ${counted(all, "run")} in ${periods.length} periods of ${formatDuration(seconds)};` +
    ` at most ${Math.max(0, ...totals)} in one.`;
  const props = { class: "plot-picture", viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": label };
  return svg("svg", props, grid, columns, timeLabels(periods, step, seconds));
}

/**
 * @param {Overview["periods"]} periods
 * @param {number} step Pixels of one period.
 * @param {number} seconds Of one period.
 */
function timeLabels(periods, step, seconds) {
  const every = Math.max(1, Math.ceil(90 / step));
  const format = seconds > 3600 ? DAY : TIME_OF_DAY;
  return periods
    .map(({ start }, index) => ({ start, x: LEFT + index * step }))
    .filter((_, index) => index % every === 0 && index * step < periods.length * step - 40)
    .map(({ start, x }) => svg("text", { class: "plot-label", x, y: HEIGHT - 6 }, format.format(new Date(start))));
}

/**
 * Draw how long the runs of each job took: one small histogram a job, all of the same classes.
 *
 * @param {Overview} overview
 */
export function durationPlot({ jobs, longer_than }) {
  const shown = [...jobs].sort((one, other) => other.runs - one.runs).slice(0, JOBS);
  if (shown.length === 0) return h("p", { class: "quiet-text" }, "No run has ended in this period.");
  return h(
    "div",
    {
      class: "histograms",
      role: "region",
      tabindex: "0",
      "aria-label": `Histograms of the durations of ${counted(jobs.length, "job")}; the table below has the figures.`,
    },
    h(
      "div",
      { class: "histogram-row histogram-head" },
      h("span"),
      classes(longer_than).map((name) => h("span", {}, name)),
      h("span", {}, "runs"),
    ),
    shown.map((job) => histogram(job, longer_than)),
    jobs.length > shown.length &&
      h("p", { class: "quiet-text" }, `${counted(jobs.length - shown.length, "more job")} in the table`),
  );
}

/**
 * @param {Overview["jobs"][number]} job
 * @param {number[]} bounds
 */
function histogram({ job, runs, durations }, bounds) {
  const most = Math.max(1, ...durations);
  const names = classes(bounds);
  const cells = durations.map((count, index) => {
    const height = count === 0 ? 1 : Math.max(2, (count / most) * (ROW - 12));
    const bar = svg("rect", { class: count === 0 ? "bar-none" : "bar-some", x: 0, width: 10, y: ROW - height, height });
    return h(
      "span",
      { class: "histogram-cell", title: `${names[index]}: ${counted(count, "run")}` },
      svg("svg", { viewBox: `0 0 10 ${ROW}`, preserveAspectRatio: "none", "aria-hidden": "true" }, bar),
    );
  });
  const name = visibleLine(job);
  return h(
    "div",
    { class: "histogram-row" },
    h("span", { class: "histogram-job", title: name }, name),
    cells,
    h("span", { class: "histogram-runs" }, formatNumber(runs)),
  );
}

/** @param {number[]} bounds @returns {string[]} Names of the classes: "< 10 ms", "10 ms", … "1 h +". */
const classes = (bounds) =>
  bounds.map((bound, index) =>
    index === 0 ? `< ${short(bounds[1])}` : index === bounds.length - 1 ? `${short(bound)} +` : short(bound),
  );

/** @param {number} seconds */
const short = (seconds) => formatDuration(seconds).replace(/(\.0| 0 (s|min))(?= |$)/g, "");

/** @param {number} number The next of 1, 2, 4, 6, 8, 10, 20, … so that its half is whole as well. */
function niceCeiling(number) {
  const power = 10 ** Math.floor(Math.log10(number));
  return [1, 2, 4, 6, 8, 10].map((factor) => factor * power).find((nice) => nice >= number) ?? number;
}
