// The live log of a run: levels, search, following the newest line as long as the reader lets it.
import { breathe } from "./clock.js";
import { fill, h, setAttribute, setText } from "./dom.js";
import { keepFocus } from "./focus.js";
import { counted, formatNumber } from "./format.js";
import { icon } from "./icons.js";
import { RANKS, isLong, lineOf, rowOf, shownNote, shownText } from "./lines.js";
import { Search } from "./search.js";
import { Viewport } from "./viewport.js";

const ROW = 20;
/** Lines that are kept; beyond that the oldest go, many at once. */
const MAX_LINES = 400_000;
const DROPPED = 100_000;
/** Lines a second that a screen reader may be asked to read out. */
const READABLE = 2;

const LEVELS = [
  ["", "All levels"],
  ["info", "Info and above"],
  ["warning", "Warning and above"],
  ["error", "Error and above"],
  ["critical", "Critical"],
];

/** @typedef {import("./lines.js").Line} Line */

export class Log {
  /** @param {string} download Address of the log as text. */
  constructor(download) {
    /** @type {Line[]} */
    this.lines = [];
    /** @type {Line[]} Those that the level lets through; the same array if it lets all. */
    this.shown = this.lines;
    this.level = "";
    this.search = new Search();
    this.unseen = 0;
    this.dropped = 0;
    this.arrived = [0, 0];
    this.columns = 100;
    this.viewport = new Viewport({
      render: (row) => this.row(row),
      estimate: (row) => this.estimate(row),
      onScroll: (direction) => this.scrolled(direction),
      attributes: { class: "log-lines", role: "log", "aria-label": "Log", "aria-live": "off" },
    });
    this.build(download);
    this.setWrap(readWrap());
    this.setFollow(true);
  }

  /** @param {string} download */
  build(download) {
    const quiet = (/** @type {string} */ name, /** @type {string} */ label, /** @type {() => void} */ click) =>
      h(
        "button",
        { type: "button", class: "icon-button", "aria-label": label, title: label, on: { click } },
        icon(name),
      );
    this.field = h("input", {
      type: "search",
      "aria-label": "Search the log",
      placeholder: "Search the log",
      "data-search": true,
      autocomplete: "off",
      spellcheck: "false",
      on: { input: () => this.find(), keydown: (/** @type {KeyboardEvent} */ event) => this.searchKey(event) },
    });
    this.found = h("span", { class: "log-found", role: "status" });
    this.steps = h(
      "span",
      { class: "log-steps", hidden: true },
      quiet("previous", "Previous match", () => this.step(-1)),
      quiet("next", "Next match", () => this.step(1)),
    );
    this.levels = h(
      "select",
      { "aria-label": "Level", on: { change: () => this.setLevel(this.levels.value) } },
      LEVELS.map(([value, label]) => h("option", { value }, label)),
    );
    this.followBox = h("input", { type: "checkbox", on: { change: () => this.setFollow(this.followBox.checked) } });
    this.wrapBox = h("input", { type: "checkbox", on: { change: () => this.setWrap(this.wrapBox.checked) } });
    this.count = h("span", { class: "log-count" });
    this.jump = h("button", {
      type: "button",
      class: "log-jump",
      hidden: true,
      on: { click: () => this.jumpToNewest() },
    });
    this.empty = h("p", { class: "log-empty" }, "Loading…");
    this.element = h(
      "section",
      { class: "panel log", "aria-labelledby": "log-title" },
      h("header", { class: "panel-head" }, h("h2", { id: "log-title" }, "Log"), this.count),
      h(
        "div",
        { class: "log-bar" },
        h("span", { class: "log-search" }, icon("search"), this.field, this.found, this.steps),
        this.levels,
        h("label", { class: "check" }, this.followBox, "Follow"),
        h("label", { class: "check" }, this.wrapBox, "Wrap"),
        h("a", { class: "button quiet-button", href: download, download: true }, icon("download"), "Download"),
      ),
      h("div", { class: "log-body" }, this.viewport.element, this.empty, this.jump),
    );
  }

  close() {
    this.viewport.close();
  }

  /**
   * Add what events say.
   *
   * @param {import("./api.js").RunEvent[]} events
   */
  append(events) {
    const before = this.shown.length;
    for (const event of events) {
      const line = lineOf(event);
      if (line === null) continue;
      this.lines.push(line);
      if (this.shown !== this.lines && this.passes(line)) this.shown.push(line);
    }
    if (this.lines.length > MAX_LINES) this.dropOldest();
    this.viewport.extend(this.shown.length);
    this.noteArrival(this.shown.length - before);
    this.show();
    if (this.search.pattern !== null) this.lookOn();
  }

  /** @param {"loading" | "live" | "disconnected" | "paused" | "ended"} state */
  setState(state) {
    this.loading = state === "loading";
    this.element.classList.toggle("ended", state === "ended");
    setAttribute(this.viewport.element, "aria-busy", this.loading ? "true" : null);
    this.show();
  }

  show() {
    const few = this.shown !== this.lines ? `${formatNumber(this.shown.length)} of ` : "";
    const gone = this.dropped > 0 ? ` · ${formatNumber(this.dropped)} older ones only in the download` : "";
    setText(this.count, `${few}${counted(this.lines.length, "line")}${gone}${this.loading ? " · loading…" : ""}`);
    this.empty.hidden = this.shown.length > 0;
    setText(
      this.empty,
      this.loading ? "Loading…" : this.lines.length > 0 ? "No line has this level." : "Nothing has been said yet.",
    );
    const hideJump = () => {
      this.jump.hidden = this.follow || this.shown.length === 0;
    };
    keepFocus(this.jump, hideJump, () => this.viewport.element);
    if (!this.jump.hidden) {
      fill(
        this.jump,
        icon("down"),
        this.unseen > 0 ? `Jump to newest · ${counted(this.unseen, "new line")}` : "Jump to newest",
      );
    }
  }

  /** @param {number} count */
  noteArrival(count) {
    if (!this.follow) this.unseen += count;
    // A screen reader is asked to read only what a person could listen to: the newest lines of a run that says little.
    const second = Math.floor(Date.now() / 1000);
    this.arrived = this.arrived[0] === second ? [second, this.arrived[1] + count] : [second, count];
    const calm = this.follow && !this.loading && this.arrived[1] <= READABLE;
    setAttribute(this.viewport.element, "aria-live", calm ? "polite" : "off");
  }

  /** @param {boolean} follow */
  setFollow(follow) {
    this.follow = follow;
    this.followBox.checked = follow;
    if (follow) this.unseen = 0;
    this.viewport.setStick(follow);
    this.show();
  }

  jumpToNewest() {
    this.setFollow(true);
    this.viewport.element.focus({ preventScroll: true });
  }

  /** @param {"up" | "down"} direction */
  scrolled(direction) {
    setAttribute(this.viewport.element, "aria-live", "off");
    if (direction === "up" && this.follow) this.setFollow(false);
    else if (direction === "down" && !this.follow && this.viewport.atEnd) this.setFollow(true);
  }

  /** @param {boolean} wrap */
  setWrap(wrap) {
    this.wrap = wrap;
    this.wrapBox.checked = wrap;
    this.viewport.element.classList.toggle("wrap", wrap);
    writeWrap(wrap);
    this.rebuild();
  }

  /** @param {string} level */
  setLevel(level) {
    this.level = level;
    const seq = this.shown[this.viewport.firstInView]?.seq ?? 0;
    this.shown = level === "" ? this.lines : this.lines.filter((line) => this.passes(line));
    this.rebuild(this.shown.findIndex((line) => line.seq >= seq));
    this.find();
  }

  /** @param {Line} line */
  passes(line) {
    return line.rank >= (RANKS[this.level] ?? 0);
  }

  dropOldest() {
    this.dropped += DROPPED;
    this.lines = this.lines.slice(DROPPED);
    this.shown = this.level === "" ? this.lines : this.lines.filter((line) => this.passes(line));
    this.search.restart();
    this.rebuild(Math.max(0, this.viewport.firstInView - DROPPED));
  }

  /** @param {number} [anchor] */
  rebuild(anchor = this.viewport.firstInView) {
    this.columns = Math.max(20, Math.floor((this.viewport.element.clientWidth - 170) / 7.5));
    this.viewport.reset(this.shown.length, Math.max(0, anchor));
    this.show();
  }

  /** @param {number} row */
  estimate(row) {
    const line = this.shown[row];
    if (!this.wrap) return ROW * shownRows(line);
    return ROW * Math.max(shownRows(line), Math.ceil((shownText(line).length + shownNote(line).length) / this.columns));
  }

  /** @param {number} row */
  row(row) {
    const line = this.shown[row];
    const onOpen = () => {
      line.open = true;
      this.viewport.refresh();
      this.viewport.element.focus({ preventScroll: true });
    };
    return rowOf(line, { pattern: this.search.pattern, current: row === this.search.current, onOpen });
  }

  find() {
    this.search.setText(this.field.value);
    this.viewport.refresh();
    this.steps.hidden = this.search.pattern === null;
    this.lookOn(true);
  }

  /** @param {boolean} [go] Whether to go to a match as soon as all are known. */
  async lookOn(go = false) {
    if (go) await breathe();
    if (!(await this.search.look(this.shown))) return;
    if (go && this.search.rows.length > 0) {
      this.search.goNear(this.viewport.firstInView);
      this.goToMatch();
    }
    this.showFound();
  }

  showFound() {
    const { pattern, rows, position } = this.search;
    const place =
      position >= 0 ? `${formatNumber(position + 1)} of ${formatNumber(rows.length)}` : formatNumber(rows.length);
    setText(this.found, pattern === null ? "" : rows.length === 0 ? "No match" : place);
  }

  /** @param {1 | -1} direction */
  step(direction) {
    this.search.step(direction);
    this.goToMatch();
    this.showFound();
  }

  goToMatch() {
    const row = this.search.current;
    if (row < 0) return;
    this.setFollow(false);
    const line = this.shown[row];
    const pattern = /** @type {RegExp} */ (this.search.pattern);
    if (shownText(line).search(pattern) === -1 && shownNote(line).search(pattern) === -1) line.open = true;
    this.viewport.scrollTo(row);
  }

  /** @param {KeyboardEvent} event */
  searchKey(event) {
    if (event.key === "Enter") {
      event.preventDefault();
      this.step(event.shiftKey ? -1 : 1);
    } else if (event.key === "Escape" && this.field.value !== "") {
      event.preventDefault();
      this.field.value = "";
      this.find();
    }
  }
}

/** @param {Line} line */
const shownRows = (line) => (line.open || !isLong(line) ? line.rows : shownText(line).split("\n").length);

function readWrap() {
  try {
    return localStorage.getItem("aioruns-wrap") !== "no";
  } catch {
    return true;
  }
}

/** @param {boolean} wrap */
function writeWrap(wrap) {
  try {
    localStorage.setItem("aioruns-wrap", wrap ? "yes" : "no");
  } catch {
    // Storage may be forbidden; the choice then lasts as long as the page.
  }
}
