// Parses JSON without changing numbers: an integer with more digits than a JavaScript number holds keeps them.

const MANY_DIGITS = /\d{16}/;

/**
 * Parse JSON. What is written again with `JSON.stringify` has the same digits, in browsers that can do that.
 *
 * @param {string} text
 * @returns {any}
 */
export function parseJson(text) {
  // Looking at every value is slow, and hardly ever needed.
  return MANY_DIGITS.test(text) ? JSON.parse(text, exact) : JSON.parse(text);
}

/**
 * @param {string} _name
 * @param {any} value
 * @param {{source?: string}} [context]
 */
function exact(_name, value, context) {
  const { rawJSON } = /** @type {any} */ (JSON);
  const kept = typeof value === "number" && Number.isInteger(value) && !Number.isSafeInteger(value);
  return kept && rawJSON && context?.source ? rawJSON(context.source) : value;
}
