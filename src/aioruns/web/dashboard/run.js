// The view of one run: what it is doing, what it says, how it ended; and Cancel and Retry.
import { Problem, cancelRun, getRun, logAddress, retryRun } from "./api.js";
import { eachSecond, sleep, untilVisible } from "./clock.js";
import { details } from "./details.js";
import { fill, h } from "./dom.js";
import { setEnabled } from "./focus.js";
import { icon } from "./icons.js";
import { jsonPanel } from "./json.js";
import { Log } from "./log.js";
import { ProgressPanel } from "./progress.js";
import { announce, problemPanel, setConnection } from "./shell.js";
import { setTitle, statusBadge, statusWord, updateBadge } from "./status.js";
import { followRun } from "./stream.js";
import { visible, visibleLine } from "./text.js";
import { Timeline } from "./timeline.js";

/** Milliseconds between two tries while the server is away. */
const AGAIN = 1000;

/** @typedef {import("./api.js").Run} Run */

/**
 * Show a run.
 *
 * @param {HTMLElement} main
 * @param {{path: string[], signal: AbortSignal}} route
 */
export async function showRun(main, { path, signal }) {
  const id = Number(path[1]);
  setTitle([`Run ${path[1]}`]);
  fill(
    main,
    h("h1", { class: "page-title", tabindex: "-1" }, `Run ${visibleLine(path[1])}`),
    h("p", { class: "loading" }, "Loading…"),
  );
  const view = await firstLook(id, signal, main);
  if (view === null) return;
  signal.addEventListener("abort", () => view.log.close());
  eachSecond(() => view.tick(), signal);
  const listener = {
    onEvents: view.take.bind(view),
    onState: view.setState.bind(view),
    onProblem: (/** @type {Problem} */ problem) => view.refuse(problem.message),
  };
  await followRun(id, listener, signal);
}

/**
 * Read the run, again and again while the server is away.
 *
 * @param {number} id
 * @param {AbortSignal} signal
 * @param {HTMLElement} main
 */
async function firstLook(id, signal, main) {
  let shown = false;
  while (!signal.aborted) {
    try {
      if (!Number.isSafeInteger(id) || id < 1) throw new Problem(404, { detail: "There is no such run." });
      const view = new RunView(await getRun(id, signal), signal);
      fill(main, view.element);
      view.log.rebuild();
      return view;
    } catch (error) {
      if (signal.aborted) return null;
      const passing = error instanceof Problem && error.passing;
      setConnection(passing);
      if (!shown || !passing) refuseView(main, id, error);
      shown = true;
      if (!passing) return null;
      await sleep(AGAIN, signal);
      await untilVisible(signal);
    }
  }
  return null;
}

/**
 * Show why there is no run to show.
 *
 * @param {HTMLElement} main
 * @param {number} id
 * @param {unknown} error
 */
function refuseView(main, id, error) {
  const title = h("h1", { class: "page-title", tabindex: "-1" }, `Run ${Number.isNaN(id) ? "" : id}`);
  fill(
    main,
    title,
    problemPanel(error, () => window.dispatchEvent(new HashChangeEvent("hashchange"))),
  );
}

class RunView {
  /** @param {Run} run @param {AbortSignal} signal */
  constructor(run, signal) {
    this.run = run;
    this.signal = signal;
    this.progress = new ProgressPanel();
    this.timeline = new Timeline();
    this.log = new Log(logAddress(run.id));
    this.badge = statusBadge(run.status, "pill");
    this.alert = h("div", { class: "alert", role: "alert", hidden: true });
    this.retry = h(
      "button",
      { type: "button", on: { click: () => this.act(() => retryRun(run.id), "retry") } },
      icon("retry"),
      "Retry",
    );
    this.cancel = h(
      "button",
      { type: "button", class: "danger", on: { click: () => this.act(() => cancelRun(run.id), "cancel") } },
      icon("cancel"),
      "Cancel",
    );
    this.shownFacts = "";
    this.busy = false;
    /** How often the run has been asked for, and how often its progress was told live. */
    this.asked = 0;
    this.told = 0;
    this.facts = h("div", { class: "stack" });
    this.outcome = h("div", { class: "stack" });
    this.heading = h(
      "h1",
      { class: "page-title", tabindex: "-1" },
      `Run ${run.id} `,
      h("span", { class: "run-job" }, visibleLine(run.job)),
    );
    this.element = h(
      "article",
      { class: "run" },
      h(
        "header",
        { class: "page-head" },
        h("div", { class: "run-title" }, this.heading, this.badge),
        h("div", { class: "actions" }, this.retry, this.cancel),
      ),
      this.alert,
      this.progress.element,
      this.outcome,
      h(
        "div",
        { class: "run-body" },
        this.log.element,
        h("aside", { class: "stack", "aria-label": "About the run" }, this.timeline.element, this.facts),
      ),
    );
    this.show(run);
  }

  /** @param {Run} run */
  show(run) {
    const changed = run.status !== this.run.status;
    this.run = run;
    this.progress.show(run);
    this.badge = updateBadge(this.badge, run.status);
    setEnabled(this.cancel, run.active && run.status !== "cancelling");
    setEnabled(this.retry, !run.active);
    setTitle([`Run ${run.id}`, visibleLine(run.job)], run.status);
    if (changed) announce(`Run ${run.id} is ${statusWord(run.status)}`);
    this.showFacts(run);
  }

  /**
   * Show what does not change while the run goes on; what the reader has opened or selected there stays.
   *
   * @param {Run} run
   */
  showFacts(run) {
    const facts = JSON.stringify({ ...run, progress: null });
    if (facts === this.shownFacts) return;
    this.shownFacts = facts;
    fill(this.outcome, run.error !== null && errorPanel(run));
    fill(
      this.facts,
      run.status === "completed" && jsonPanel("Result", run.result),
      details(run),
      run.arguments !== null && jsonPanel("Arguments", run.arguments),
    );
  }

  tick() {
    if (this.run.active) this.progress.tick(this.run);
  }

  /** @param {import("./api.js").RunEvent[]} events */
  take(events) {
    this.log.append(events);
    this.timeline.append(events);
    let progress = null;
    let changed = false;
    for (const event of events) {
      if (event.kind === "progress") {
        progress = event.data;
        this.progress.pace.add(event.at, event.data);
      } else if (event.kind === "status") {
        changed = true;
        if (event.run) return this.show(event.run);
      }
    }
    if (!this.run.active) return;
    // What the backlog says of progress is older than the run as it was read.
    if (progress && this.live) {
      this.told += 1;
      this.run.progress = progress;
      this.progress.show(this.run);
    }
    if (changed && this.live) this.reread();
  }

  /** Read the run after its status has changed: its times are not in the event. */
  async reread() {
    this.asked += 1;
    const { asked, told } = this;
    try {
      const run = await getRun(this.run.id, this.signal);
      // The answer to a later question is newer than this one, and so is progress that was told meanwhile.
      if (!this.run.active || asked !== this.asked) return;
      if (told !== this.told) run.progress = this.run.progress;
      this.show(run);
    } catch {
      // The stream will tell the end, and whether the server is away.
    }
  }

  /** @param {"loading" | "live" | "disconnected" | "paused" | "ended"} state */
  setState(state) {
    if (this.signal.aborted) return;
    this.log.setState(state);
    setConnection(state === "disconnected");
    if (state === "live" && !this.live) {
      this.live = true;
      this.reread();
    }
  }

  /**
   * @param {() => Promise<Run>} call
   * @param {"cancel" | "retry"} what
   */
  async act(call, what) {
    // The button is not disabled meanwhile: it would lose the focus.
    if (this.busy) return;
    this.busy = true;
    this.alert.hidden = true;
    try {
      const run = await call();
      if (what === "retry") location.hash = `#/runs/${run.id}`;
      else if (this.run.active) this.show(run);
    } catch (error) {
      this.refuse(error instanceof Problem ? error.message : String(error));
    } finally {
      this.busy = false;
    }
  }

  /** @param {string} reason */
  refuse(reason) {
    this.alert.hidden = false;
    fill(this.alert, icon("warning"), h("span", {}, visible(reason)));
  }
}

/** @param {Run} run */
function errorPanel({ error, traceback, status }) {
  return h(
    "section",
    { class: "panel error-panel", "aria-labelledby": "error-title", data: { status } },
    h("header", { class: "panel-head" }, h("h2", { id: "error-title" }, "Error")),
    h("p", { class: "error-text" }, visible(error)),
    traceback !== null &&
      h(
        "details",
        {},
        h("summary", {}, "Traceback"),
        h("pre", { class: "code", tabindex: "0", role: "region", "aria-label": "Traceback" }, visible(traceback)),
      ),
  );
}
