// Shows how far a run has come: step, count, bar, elapsed time, and an estimate from the pace of the last minute.
import { now } from "./clock.js";
import { h, setAttribute, setText } from "./dom.js";
import { formatDuration, formatEstimate, formatNumber, secondsBetween } from "./format.js";
import { visibleLine } from "./text.js";

/** Seconds of progress that the estimate is made from, and that it needs at least. */
const WINDOW = 60;
const ENOUGH = 2;

/** @typedef {import("./api.js").Progress} Progress */

/**
 * How much of the total is done, or null while that is unknown.
 *
 * @param {Progress | null} progress
 */
export const fraction = (progress) =>
  progress?.total === null || progress?.total === undefined
    ? null
    : progress.total === 0
      ? 1
      : progress.current / progress.total;

/** @param {Progress} progress */
export const progressCount = ({ current, total }) =>
  total === null ? formatNumber(current) : `${formatNumber(current)} / ${formatNumber(total)}`;

/**
 * Bring a progress bar up to date.
 *
 * @param {HTMLElement} bar Made by `progressBar`.
 * @param {Progress | null} progress
 * @param {boolean} active
 */
export function updateBar(bar, progress, active) {
  const done = fraction(progress);
  bar.classList.toggle("unknown", done === null && active);
  /** @type {HTMLElement} */ (bar.firstElementChild).style.width = `${(done ?? 0) * 100}%`;
  setAttribute(bar, "aria-valuemin", "0");
  setAttribute(bar, "aria-valuemax", "100");
  setAttribute(bar, "aria-valuenow", done === null ? null : Math.floor(done * 100));
  const step = progress?.step ? `${visibleLine(progress.step)}, ` : "";
  setAttribute(bar, "aria-valuetext", progress ? `${step}${progressCount(progress)}` : "not known");
}

/** @param {string} label */
export const progressBar = (label) =>
  h("div", { class: "bar", role: "progressbar", "aria-label": label }, h("div", { class: "bar-done" }));

/** The pace of the step that is executing. */
export class Pace {
  constructor() {
    /** @type {{at: number, current: number}[]} */
    this.points = [];
    /** @type {string | null} */
    this.step = null;
  }

  /**
   * @param {string} at
   * @param {Progress} progress
   */
  add(at, { current, step }) {
    const point = { at: Date.parse(at), current };
    const last = this.points.at(-1);
    if (step !== this.step || (last && current < last.current)) this.points = [];
    this.step = step;
    if (last && point.at - last.at < 200 && this.points.length > 1) this.points.pop();
    this.points.push(point);
    while (this.points.length > 2 && point.at - this.points[1].at > WINDOW * 1000) this.points.shift();
  }

  /**
   * Seconds until the step is done at this pace, or null while nobody could say.
   *
   * @param {Progress} progress
   */
  left({ current, total }) {
    const first = this.points[0];
    const last = this.points.at(-1);
    if (total === null || !first || !last || last.at - first.at < ENOUGH * 1000 || last.current <= first.current)
      return null;
    const perSecond = ((last.current - first.current) / (last.at - first.at)) * 1000;
    return Math.max(0, (total - current) / perSecond - (now() - last.at) / 1000);
  }
}

/** The panel on top of a run. */
export class ProgressPanel {
  constructor() {
    this.pace = new Pace();
    this.bar = progressBar("Progress");
    this.step = h("strong", { class: "progress-step" });
    this.message = h("span", { class: "progress-message" });
    this.count = h("span", { class: "progress-count" });
    this.percent = h("span", { class: "progress-percent" });
    this.elapsed = h("span", { class: "progress-elapsed" });
    this.estimate = h("span", { class: "progress-estimate" });
    this.element = h(
      "section",
      { class: "panel progress", "aria-label": "Progress of the run" },
      h("div", { class: "progress-line" }, this.step, this.message, this.percent),
      this.bar,
      h("div", { class: "progress-line quiet-line" }, this.count, this.elapsed, this.estimate),
    );
  }

  /** @param {import("./api.js").RunSummary} run */
  show(run) {
    const { progress, active } = run;
    this.element.hidden = progress === null && !active;
    setAttribute(this.element, "data-status", run.status);
    updateBar(this.bar, progress, run.status === "running" || run.status === "cancelling");
    setText(this.step, progress?.step ? visibleLine(progress.step) : waiting(run));
    setText(this.message, progress?.message ? visibleLine(progress.message) : "");
    setText(this.count, progress ? progressCount(progress) : "No progress said yet");
    const done = fraction(progress);
    setText(this.percent, done === null ? "" : `${Math.floor(done * 100)} %`);
    this.tick(run);
  }

  /** @param {import("./api.js").RunSummary} run */
  tick({ started_at, finished_at, status, progress }) {
    const seconds = started_at === null ? null : secondsBetween(started_at, finished_at ?? now());
    setText(
      this.elapsed,
      seconds === null ? "" : `${formatDuration(seconds, { whole: finished_at === null })} elapsed`,
    );
    const left = status === "running" && progress ? this.pace.left(progress) : null;
    setText(this.estimate, left === null ? "" : `${formatEstimate(left)}${progress?.step ? " in this step" : ""}`);
  }
}

/** @param {import("./api.js").RunSummary} run */
function waiting({ status }) {
  if (status === "pending") return "Waiting to start";
  return status === "running" ? "Running" : status === "cancelling" ? "Ending" : "Progress";
}
