// One row of the list, brought up to date in place.
import { now } from "./clock.js";
import { tagElement } from "./details.js";
import { fill, h, setAttribute, setText } from "./dom.js";
import { formatDuration, secondsBetween, timeElement } from "./format.js";
import { progressBar, progressCount, updateBar } from "./progress.js";
import { statusBadge, updateBadge } from "./status.js";
import { visibleLine } from "./text.js";

/** @typedef {import("./api.js").RunSummary} RunSummary */

export class RunRow {
  /** @param {RunSummary} run */
  constructor(run) {
    this.run = run;
    const cell = (/** @type {string} */ name, /** @type {any[]} */ ...children) =>
      h("td", { role: "cell", class: `col-${name}` }, ...children);
    this.link = h("a", { class: "run-link", href: `#/runs/${run.id}` }, "Run ", h("span", { class: "run-id" }, run.id));
    this.badge = statusBadge(run.status);
    this.bar = progressBar(`Progress of run ${run.id}`);
    this.count = h("span", { class: "count" });
    this.started = cell("started");
    this.duration = cell("duration");
    this.progress = cell("progress", this.bar, this.count);
    const job = visibleLine(run.job);
    const key = run.key === null ? "" : visibleLine(run.key);
    this.element = h(
      "tr",
      {
        role: "row",
        data: { run: String(run.id) },
        on: { click: (/** @type {MouseEvent} */ event) => this.open(event) },
      },
      cell("run", this.link),
      cell("job", h("span", { class: "job-name", title: job }, job), run.tags.map(tagElement)),
      cell("status", this.badge),
      cell("key", h("span", { class: "key", title: key }, key)),
      this.progress,
      this.started,
      this.duration,
    );
    /** @type {string | null} */
    this.startedAt = "";
    this.show(run);
  }

  /** @param {RunSummary} run */
  show(run) {
    this.run = run;
    this.badge = updateBadge(this.badge, run.status);
    setAttribute(this.element, "data-status", run.status);
    this.bar.hidden = !run.active || run.status === "pending";
    if (!this.bar.hidden) updateBar(this.bar, run.progress, true);
    const step = run.active && run.progress?.step ? ` · ${visibleLine(run.progress.step)}` : "";
    setText(this.count, run.progress ? `${progressCount(run.progress)}${step}` : "");
    this.progress.classList.toggle("nothing", !run.progress);
    setAttribute(this.progress, "title", this.count.textContent || null);
    if (this.startedAt !== run.started_at)
      fill(this.started, run.started_at === null ? "—" : timeElement(run.started_at));
    this.startedAt = run.started_at;
    this.tick();
  }

  tick() {
    const { started_at, finished_at } = this.run;
    const text =
      started_at === null
        ? "—"
        : formatDuration(secondsBetween(started_at, finished_at ?? now()), { whole: finished_at === null });
    setText(this.duration, text);
  }

  /**
   * Open the run from anywhere in its row, unless text is being selected.
   *
   * @param {MouseEvent} event
   */
  open(event) {
    const selecting = String(getSelection()) !== "";
    if (
      selecting ||
      event.ctrlKey ||
      event.metaKey ||
      event.shiftKey ||
      /** @type {Element} */ (event.target).closest("a")
    )
      return;
    this.link.click();
  }
}
