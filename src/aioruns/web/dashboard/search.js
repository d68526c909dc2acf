// Finds text in very many lines, a portion at a time, so that typing and scrolling go on.
import { breathe } from "./clock.js";

/** Lines that are looked at before the browser may do something else. */
const PORTION = 10_000;

/** @typedef {import("./lines.js").Line} Line */

export class Search {
  constructor() {
    /** @type {RegExp | null} */
    this.pattern = null;
    /** @type {number[]} Rows that match, ascending. */
    this.rows = [];
    this.position = -1;
    this.looked = 0;
    this.turn = 0;
  }

  /** The row that the reader is at, or -1. */
  get current() {
    return this.rows[this.position] ?? -1;
  }

  /** @param {string} text */
  setText(text) {
    this.pattern = text === "" ? null : new RegExp(text.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&"), "giu");
    this.restart();
  }

  /** Look at all lines again. */
  restart() {
    this.rows = [];
    this.position = -1;
    this.looked = 0;
    this.turn += 1;
  }

  /**
   * Look at the lines that have not been looked at.
   *
   * @param {Line[]} lines
   * @returns {Promise<boolean>} False if another search has begun meanwhile.
   */
  async look(lines) {
    const turn = this.turn;
    while (this.pattern !== null && this.looked < lines.length) {
      const end = Math.min(this.looked + PORTION, lines.length);
      for (; this.looked < end; this.looked += 1) if (this.matches(lines[this.looked])) this.rows.push(this.looked);
      if (this.looked < lines.length) await breathe();
      if (turn !== this.turn) return false;
    }
    return true;
  }

  /** @param {Line} line */
  matches(line) {
    // `search` ignores where the last search of a global pattern has ended.
    const pattern = /** @type {RegExp} */ (this.pattern);
    return line.text.search(pattern) !== -1 || (line.note !== "" && line.note.search(pattern) !== -1);
  }

  /**
   * Go to the first match at or behind a row; to the first of all if there is none.
   *
   * @param {number} row
   */
  goNear(row) {
    const position = this.rows.findIndex((each) => each >= row);
    this.position = this.rows.length === 0 ? -1 : Math.max(position, 0);
  }

  /** @param {1 | -1} direction */
  step(direction) {
    const { length } = this.rows;
    if (length > 0) this.position = (this.position + direction + length) % length;
  }
}
