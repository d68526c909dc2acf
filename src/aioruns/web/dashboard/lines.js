// Turns events into the lines of the log, and lines into rows.
import { h } from "./dom.js";
import { formatExactTime, formatNumber } from "./format.js";
import { statusWord } from "./status.js";
import { visible, visibleLine } from "./text.js";

/** Characters and rows of one line that are shown until the reader asks for all. */
const MAX_CHARACTERS = 2000;
const MAX_ROWS = 60;
const MAX_NOTE = 500;

/** @type {Record<string, number>} */
export const RANKS = { debug: 10, info: 20, warning: 30, error: 40, critical: 50 };

/**
 * @typedef {{
 *   seq: number, at: string, level: string, rank: number, text: string, note: string, rows: number, own: boolean,
 *   open: boolean,
 * }} Line `level` is the word in front: a log level, or the kind of event; `own` tells that it is a log level.
 */

/**
 * Make the line of an event; progress has none.
 *
 * @param {import("./api.js").RunEvent} event
 * @returns {Line | null}
 */
export function lineOf({ seq, at, kind, data, attempt }) {
  if (kind === "progress") return null;
  if (kind === "log") return logLine(seq, at, data);
  if (kind === "status") {
    const attempts = data.status === "running" && attempt > 1 ? `attempt ${attempt}` : "";
    const parts = [statusWord(data.status), attempts, data.reason && `reason: ${data.reason}`, data.error];
    return line(seq, at, "status", parts.filter(Boolean).join(" · "), "", 20);
  }
  return line(seq, at, visibleLine(kind), typeof data === "string" ? data : JSON.stringify(data), "", 20);
}

/**
 * @param {number} seq
 * @param {string} at
 * @param {any} data
 */
function logLine(seq, at, data) {
  const level = String(data.level ?? "info");
  const trace = data.traceback
    ? `\n${data.traceback}`
    : data.traceback === null
      ? "\n(the traceback is not shown to you)"
      : "";
  const fields = Object.entries(data.fields ?? {}).map(([name, value]) => `${name}=${plain(value)}`);
  const notes = [...fields];
  if (data.logger) notes.push(data.logger);
  if (data.cut) notes.push(`cut, was ${data.cut} characters`);
  if (data.fields_cut) notes.push(`${data.fields_cut} fields were too large`);
  return line(
    seq,
    at,
    visibleLine(level),
    `${data.message ?? ""}${trace}`,
    notes.join("  "),
    RANKS[level] ?? rankOf(level),
    true,
  );
}

/** @param {string} level Python names a level without a name "level 25". */
const rankOf = (level) => Number(/^level (\d+)$/.exec(level)?.[1] ?? 20);

/** @param {any} value */
const plain = (value) => (typeof value === "string" && !/[\s="]/.test(value) ? value : JSON.stringify(value));

/**
 * @param {number} seq
 * @param {string} at
 * @param {string} level
 * @param {string} raw
 * @param {string} note
 * @param {number} rank
 * @param {boolean} [own]
 * @returns {Line}
 */
function line(seq, at, level, raw, note, rank, own = false) {
  const text = visible(raw).trimEnd();
  let rows = 1;
  for (let index = text.indexOf("\n"); index !== -1; index = text.indexOf("\n", index + 1)) rows += 1;
  return { seq, at, level, rank, text, note: visibleLine(note), rows, own, open: false };
}

/** @param {Line} line */
export const isLong = ({ text, rows, note }) =>
  text.length > MAX_CHARACTERS || rows > MAX_ROWS || note.length > MAX_NOTE;

/** @param {Line} line */
export function shownText(line) {
  if (line.open || !isLong(line)) return line.text;
  const cut = line.text.slice(0, MAX_CHARACTERS);
  return line.rows > MAX_ROWS ? cut.split("\n").slice(0, MAX_ROWS).join("\n") : cut;
}

/** @param {Line} line */
export const shownNote = ({ note, open }) => (open ? note : note.slice(0, MAX_NOTE));

/**
 * Make the row of a line.
 *
 * @param {Line} line
 * @param {{pattern: RegExp | null, current: boolean, onOpen: () => void}} options `pattern` is what to mark.
 */
export function rowOf(line, { pattern, current, onOpen }) {
  const text = shownText(line);
  const note = shownNote(line);
  const all = line.text.length + line.note.length;
  const more = text.length + note.length < all;
  return h(
    "div",
    {
      class: current ? "line current" : "line",
      data: { seq: String(line.seq), level: line.own ? line.level : "event" },
    },
    h("time", { class: "line-time", datetime: line.at, title: line.at }, formatExactTime(line.at)),
    h("span", { class: "line-level" }, line.level),
    h(
      "span",
      { class: "line-text" },
      marked(text, pattern),
      note && h("span", { class: "line-note" }, "  ", marked(note, pattern)),
      more && "… ",
      more &&
        h(
          "button",
          { type: "button", class: "quiet", on: { click: onOpen } },
          `Show all ${formatNumber(all)} characters`,
        ),
    ),
  );
}

/**
 * @param {string} text
 * @param {RegExp | null} pattern
 * @returns {import("./dom.js").Child[]}
 */
function marked(text, pattern) {
  if (pattern === null) return [text];
  const parts = [];
  let end = 0;
  for (const match of text.matchAll(pattern)) {
    parts.push(text.slice(end, match.index), h("mark", {}, match[0]));
    end = match.index + match[0].length;
  }
  parts.push(text.slice(end));
  return parts;
}
