// Knows what time it is on the server, and ticks once a second while somebody looks.

let skew = 0;

/**
 * Learn the server's time from a response. Its header counts whole seconds, so small differences mean nothing.
 *
 * @param {Response} response
 */
export function setClock(response) {
  const date = Date.parse(response.headers.get("date") ?? "");
  if (Number.isNaN(date)) return;
  const difference = date + 500 - Date.now();
  skew = Math.abs(difference) > 2000 ? difference : 0;
}

/** Milliseconds since 1970 as the server counts them. */
export const now = () => Date.now() + skew;

/**
 * Call something each second while the page is visible, until the signal is aborted.
 *
 * @param {() => void} tick
 * @param {AbortSignal} signal
 */
export function eachSecond(tick, signal) {
  const timer = setInterval(() => document.hidden || tick(), 1000);
  signal.addEventListener("abort", () => clearInterval(timer));
}

/**
 * Wait; ends early, without an error, when the signal is aborted.
 *
 * @param {number} milliseconds
 * @param {AbortSignal} signal
 * @returns {Promise<void>}
 */
export function sleep(milliseconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}

/**
 * Wait until the page is visible; ends early, without an error, when the signal is aborted.
 *
 * @param {AbortSignal} signal
 * @returns {Promise<void>}
 */
export function untilVisible(signal) {
  if (!document.hidden) return Promise.resolve();
  return new Promise((resolve) => {
    document.addEventListener("visibilitychange", () => resolve(), { once: true, signal });
    signal.addEventListener("abort", () => resolve(), { once: true });
  });
}

/** Milliseconds of work after which the browser should paint and take input. */
const SLICE = 12;
let rested = 0;

/** Let the browser paint and take input, if it has not lately: it makes a pause of four milliseconds each time. */
export async function breathe() {
  if (performance.now() - rested < SLICE) return;
  await new Promise((resolve) => setTimeout(resolve));
  rested = performance.now();
}
