// Keeps the heights of very many rows, and finds in logarithmic time where a row begins and which row is where.

/** A Fenwick tree over the heights. Rows are counted from 0. */
export class Heights {
  constructor() {
    this.count = 0;
    this.heights = new Float64Array(1024);
    this.tree = new Float64Array(1025);
  }

  /** @param {number} height */
  append(height) {
    if (this.count === this.heights.length) this.grow();
    this.heights[this.count] = height;
    this.count += 1;
    const node = this.count;
    let sum = height;
    const end = node - (node & -node);
    for (let child = node - 1; child > end; child -= child & -child) sum += this.tree[child];
    this.tree[node] = sum;
  }

  /**
   * @param {number} row
   * @param {number} height
   */
  set(row, height) {
    const change = height - this.heights[row];
    if (change === 0) return;
    this.heights[row] = height;
    for (let node = row + 1; node <= this.count; node += node & -node) this.tree[node] += change;
  }

  /**
   * Where a row begins; for `count`, where all end.
   *
   * @param {number} row
   */
  top(row) {
    let sum = 0;
    for (let node = row; node > 0; node -= node & -node) sum += this.tree[node];
    return sum;
  }

  get total() {
    return this.top(this.count);
  }

  /**
   * The row that covers a place; the last one if it is behind all.
   *
   * @param {number} place
   */
  at(place) {
    let row = 0;
    let rest = place;
    for (let step = 2 ** Math.floor(Math.log2(this.count || 1)); step >= 1; step /= 2) {
      if (row + step <= this.count && this.tree[row + step] <= rest) {
        row += step;
        rest -= this.tree[row];
      }
    }
    return Math.max(0, Math.min(row, this.count - 1));
  }

  grow() {
    const heights = new Float64Array(this.heights.length * 2);
    const tree = new Float64Array(this.heights.length * 2 + 1);
    heights.set(this.heights);
    tree.set(this.tree);
    this.heights = heights;
    this.tree = tree;
  }
}
