// The facts of a run that are neither its status nor its log: key, tags, who started it, its times.
import { h } from "./dom.js";
import { formatDuration, secondsBetween, timeElement } from "./format.js";
import { visibleLine } from "./text.js";

/**
 * Make the panel.
 *
 * @param {import("./api.js").Run} run
 */
export function details(run) {
  const text = (/** @type {string | null} */ value) => (value === null || value === "" ? null : visibleLine(value));
  const moment = (/** @type {string | null} */ at) => (at === null ? null : timeElement(at));
  /** @type {[string, any][]} */
  const facts = [
    ["Key", text(run.key)],
    ["Tags", run.tags.length > 0 ? run.tags.map(tagElement) : null],
    ["Triggered by", text(run.triggered_by)],
    ["Retry of", run.retry_of === null ? null : h("a", { href: `#/runs/${run.retry_of}` }, `Run ${run.retry_of}`)],
    ["Attempt", run.attempt > 1 ? String(run.attempt) : null],
    ["Created", moment(run.created_at)],
    ["Started", moment(run.started_at)],
    ["Waited", waited(run)],
    ["Finished", moment(run.finished_at)],
    [
      "Duration",
      run.started_at === null || run.finished_at === null
        ? null
        : formatDuration(secondsBetween(run.started_at, run.finished_at)),
    ],
    ["Cancel requested", moment(run.cancel_requested_at)],
    ["Reason", text(run.cancel_reason)],
    ["Time-out", run.timeout === null ? null : formatDuration(run.timeout)],
    ["Idempotency key", text(run.idempotency_key)],
  ];
  return h(
    "section",
    { class: "panel", "aria-labelledby": "details-title" },
    h("header", { class: "panel-head" }, h("h2", { id: "details-title" }, "Details")),
    h(
      "dl",
      { class: "facts" },
      facts
        .filter(([, value]) => value !== null)
        .map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))),
    ),
  );
}

/** @param {string} tag */
export const tagElement = (tag) => h("span", { class: "tag" }, visibleLine(tag));

/** @param {import("./api.js").Run} run */
function waited({ created_at, started_at }) {
  if (started_at === null) return null;
  const seconds = secondsBetween(created_at, started_at);
  return seconds < 1 ? null : formatDuration(seconds);
}
