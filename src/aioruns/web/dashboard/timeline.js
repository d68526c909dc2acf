// The timeline of a run: attempts, status changes and steps, each with its time and how long it took.
import { fill, h } from "./dom.js";
import { counted, formatDuration, secondsBetween, timeElement } from "./format.js";
import { icon } from "./icons.js";
import { STATUSES, isTerminal, statusWord } from "./status.js";
import { visibleLine } from "./text.js";

/** Entries that are shown at the beginning and at the end when there are very many. */
const SHOWN = 40;

/** @typedef {{kind: "status" | "step", name: string, detail: string, at: string, end: string | null, attempt: number}} Entry */

export class Timeline {
  constructor() {
    /** @type {Entry[]} */
    this.entries = [];
    /** @type {Entry | null} */
    this.step = null;
    this.attempt = 1;
    this.all = false;
    this.dirty = false;
    this.list = h("ol", { class: "timeline", tabindex: "-1" });
    this.element = h(
      "section",
      { class: "panel", "aria-labelledby": "timeline-title" },
      h("header", { class: "panel-head" }, h("h2", { id: "timeline-title" }, "Timeline")),
      this.list,
    );
  }

  /** @param {import("./api.js").RunEvent[]} events */
  append(events) {
    for (const event of events) this.take(event);
    if (!this.dirty) return;
    this.dirty = false;
    cancelAnimationFrame(this.frame ?? 0);
    this.frame = requestAnimationFrame(() => this.draw());
  }

  /** @param {import("./api.js").RunEvent} event */
  take({ kind, at, attempt, data }) {
    if (kind === "status") {
      this.endStep(at);
      if (data.status === "running") this.attempt = attempt;
      const detail = [data.reason && `“${visibleLine(data.reason)}”`, data.error && visibleLine(data.error)]
        .filter(Boolean)
        .join(" · ");
      const open = this.entries.findLast((entry) => entry.kind === "status");
      if (open) open.end = at;
      this.add({ kind: "status", name: data.status, detail, at, end: null, attempt });
    } else if (kind === "progress" && typeof data.step === "string" && data.step !== this.step?.name) {
      this.endStep(at);
      this.step = this.add({ kind: "step", name: data.step, detail: "", at, end: null, attempt });
    } else if (kind === "step") {
      const name = typeof data === "string" ? data : (data?.name ?? data?.step ?? JSON.stringify(data));
      this.add({
        kind: "step",
        name: String(name),
        detail: typeof data?.status === "string" ? data.status : "checkpoint",
        at,
        end: null,
        attempt,
      });
    }
  }

  /** @param {string} at */
  endStep(at) {
    if (this.step) this.step.end = at;
    this.step = null;
  }

  /** @param {Entry} entry */
  add(entry) {
    this.entries.push(entry);
    this.dirty = true;
    return entry;
  }

  draw() {
    const { entries } = this;
    const cut = !this.all && entries.length > 3 * SHOWN;
    const first = cut ? entries.slice(0, SHOWN) : entries;
    const last = cut ? entries.slice(-SHOWN) : [];
    const showAll = () => {
      this.all = true;
      this.draw();
      this.list.focus({ preventScroll: true });
    };
    const more = counted(entries.length - 2 * SHOWN, "more entry", "more entries");
    fill(
      this.list,
      first.map((entry, index) => this.row(entry, first[index - 1])),
      cut &&
        h(
          "li",
          { class: "timeline-more" },
          h("button", { type: "button", class: "quiet", on: { click: showAll } }, more),
        ),
      last.map((entry, index) => this.row(entry, last[index - 1] ?? entry)),
    );
  }

  /**
   * @param {Entry} entry
   * @param {Entry | undefined} before
   */
  row({ kind, name, detail, at, end, attempt }, before) {
    const status = kind === "status";
    const label = status ? statusWord(name) : visibleLine(name);
    const again = attempt > (before?.attempt ?? 1) ? h("span", { class: "tag" }, `attempt ${attempt}`) : null;
    const took = end === null || (status && isTerminal(name)) ? "" : formatDuration(secondsBetween(at, end));
    return h(
      "li",
      { class: `entry entry-${kind}`, data: status ? { status: name } : {} },
      h("span", { class: "entry-mark" }, icon(status ? mark(name) : "step")),
      h("span", { class: "entry-name" }, label, again),
      h("span", { class: "entry-took" }, took),
      h("span", { class: "entry-time" }, timeElement(at)),
      detail && h("span", { class: "entry-detail" }, detail),
    );
  }
}

/** @param {string} status What is past does not turn: the run has started, or started to end. */
function mark(status) {
  if (status === "running") return "start";
  return STATUSES.includes(/** @type {any} */ (status)) ? status : "step";
}
