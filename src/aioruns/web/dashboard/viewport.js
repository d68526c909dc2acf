// A list of very many rows of different heights, of which only those in view are elements.
import { fill, h } from "./dom.js";
import { keepFocus } from "./focus.js";
import { Heights } from "./heights.js";

/** Pixels above and below the view that have elements too, so that fast scrolling shows no blank. */
const MARGIN = 400;
/** Pixels from the end that still count as being there. */
const NEAR = 8;

/**
 * @typedef {{
 *   render: (row: number) => HTMLElement, estimate: (row: number) => number,
 *   onScroll: (direction: "up" | "down") => void, attributes: Record<string, any>,
 * }} ViewportOptions
 */
export class Viewport {
  /** @param {ViewportOptions} options */
  constructor({ render, estimate, onScroll, attributes }) {
    this.renderRow = render;
    this.estimate = estimate;
    this.rows = h("div", { class: "viewport-rows" });
    this.space = h("div", { class: "viewport-space" }, this.rows);
    this.element = h("div", { tabindex: "0", ...attributes }, this.space);
    this.heights = new Heights();
    /** @type {Map<number, HTMLElement>} */
    this.shown = new Map();
    this.stick = false;
    this.lastTop = 0;
    this.width = 0;
    this.frame = 0;
    this.firstShown = 0;
    this.element.addEventListener("scroll", () => {
      const top = this.element.scrollTop;
      if (top !== this.lastTop) onScroll(top < this.lastTop ? "up" : "down");
      this.lastTop = this.element.scrollTop;
      this.invalidate();
    });
    this.observer = new ResizeObserver(() => this.resized());
    this.observer.observe(this.element);
  }

  close() {
    this.observer.disconnect();
    cancelAnimationFrame(this.frame);
  }

  get count() {
    return this.heights.count;
  }

  get atEnd() {
    const { scrollTop, scrollHeight, clientHeight } = this.element;
    return scrollHeight - scrollTop - clientHeight <= NEAR;
  }

  /**
   * Say how many rows there are now, at the end more than before.
   *
   * @param {number} count
   */
  extend(count) {
    for (let row = this.count; row < count; row += 1) this.heights.append(this.estimate(row));
    this.invalidate();
  }

  /**
   * Say that all rows are others.
   *
   * @param {number} count
   * @param {number} [anchor] The row to have at the top.
   */
  reset(count, anchor = 0) {
    this.heights = new Heights();
    this.forget();
    this.extend(count);
    this.space.style.height = `${this.heights.total}px`;
    this.moveTo(this.stick ? this.heights.total : this.heights.top(Math.min(anchor, count)));
  }

  /** Make the elements in view anew. */
  refresh() {
    this.forget();
    this.invalidate();
  }

  get firstInView() {
    return this.heights.at(this.element.scrollTop);
  }

  /**
   * Bring a row into view.
   *
   * @param {number} row
   */
  scrollTo(row) {
    const { scrollTop, clientHeight } = this.element;
    const top = this.heights.top(row);
    const bottom = this.heights.top(row + 1);
    if (top < scrollTop || bottom > scrollTop + clientHeight) this.moveTo(top - clientHeight / 3);
    this.refresh();
  }

  /**
   * Stay at the end while rows are added, or not.
   *
   * @param {boolean} stick
   */
  setStick(stick) {
    this.stick = stick;
    if (stick) this.invalidate();
  }

  invalidate() {
    if (this.frame === 0) this.frame = requestAnimationFrame(() => this.draw());
  }

  draw() {
    this.frame = 0;
    const { element, heights } = this;
    if (!element.isConnected) return;
    if (this.stick) this.place(heights.total);
    // What stands at the top of the view stays there when heights turn out to be others than estimated.
    const anchor = heights.at(element.scrollTop);
    const offset = element.scrollTop - heights.top(anchor);
    this.drawRows();
    if (this.measure()) {
      this.space.style.height = `${heights.total}px`;
      if (!this.stick) this.moveTo(heights.top(anchor) + offset);
    }
    if (this.stick) {
      this.place(heights.total);
      this.drawRows();
      if (this.measure()) this.place(heights.total);
    }
    this.rows.style.transform = `translateY(${heights.top(this.firstShown)}px)`;
  }

  /** @param {number} total */
  place(total) {
    this.space.style.height = `${total}px`;
    this.moveTo(total);
  }

  /** @param {number} top */
  moveTo(top) {
    this.element.scrollTop = top;
    this.lastTop = this.element.scrollTop;
  }

  drawRows() {
    const { element, heights, shown } = this;
    this.space.style.height = `${heights.total}px`;
    const first = heights.at(element.scrollTop - MARGIN);
    const last = heights.count === 0 ? -1 : heights.at(element.scrollTop + element.clientHeight + MARGIN);
    keepFocus(this.rows, () => {
      for (const [row, made] of shown) {
        if (row >= first && row <= last) continue;
        made.remove();
        shown.delete(row);
      }
    });
    let before = null;
    for (let row = last; row >= first; row -= 1) {
      let made = shown.get(row);
      if (made === undefined) {
        made = this.renderRow(row);
        shown.set(row, made);
        this.rows.insertBefore(made, before);
      }
      before = made;
    }
    this.firstShown = first;
    this.rows.style.transform = `translateY(${heights.top(first)}px)`;
  }

  /** Learn the true heights of the rows in view; tell whether any was another. */
  measure() {
    let changed = false;
    for (const [row, made] of this.shown) {
      const height = made.getBoundingClientRect().height;
      if (Math.abs(height - this.heights.heights[row]) < 0.01) continue;
      this.heights.set(row, height);
      changed = true;
    }
    return changed;
  }

  forget() {
    this.shown.clear();
    fill(this.rows);
  }

  resized() {
    const width = this.element.clientWidth;
    if (width !== this.width && this.count > 0) this.reset(this.count, this.firstInView);
    this.width = width;
    this.invalidate();
  }
}
