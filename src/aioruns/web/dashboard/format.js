// Writes durations, times and numbers for people.
import { h } from "./dom.js";

const NUMBER = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 2 });
const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const YEAR = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric" });

/** @param {number} number */
export const formatNumber = (number) => NUMBER.format(number);

/**
 * @param {number} count
 * @param {string} one
 * @param {string} [many]
 */
export const counted = (count, one, many = `${one}s`) => `${formatNumber(count)} ${count === 1 ? one : many}`;

/**
 * Write a duration, short: "840 ms", "4.2 s", "42 s", "3 min 12 s", "2 h 5 min", "3 d 4 h".
 *
 * @param {number} seconds
 * @param {{whole?: boolean}} [options] `whole` leaves fractions away, for a duration that is still growing.
 */
export function formatDuration(seconds, { whole = false } = {}) {
  if (!Number.isFinite(seconds)) return "—";
  const positive = Math.max(0, seconds);
  if (positive < 0.9995 && !whole) return `${formatNumber(Math.round(positive * 1000))} ms`;
  if (positive < 9.95 && !whole) return `${positive.toFixed(1)} s`;
  const total = whole ? Math.floor(positive) : Math.round(positive);
  if (total < 60) return `${total} s`;
  if (total < 3600) return `${Math.floor(total / 60)} min ${total % 60} s`;
  if (total < 86_400) return `${Math.floor(total / 3600)} h ${Math.floor((total % 3600) / 60)} min`;
  return `${Math.floor(total / 86_400)} d ${Math.floor((total % 86_400) / 3600)} h`;
}

/**
 * Seconds between two moments.
 *
 * @param {string} from
 * @param {string | number} to
 */
export const secondsBetween = (from, to) => ((typeof to === "number" ? to : Date.parse(to)) - Date.parse(from)) / 1000;

/**
 * Write how long is still to go, no more exactly than anybody can know.
 *
 * @param {number} seconds
 */
export function formatEstimate(seconds) {
  if (seconds < 5) return "a few seconds left";
  if (seconds < 60) return `about ${Math.ceil(seconds / 5) * 5} s left`;
  if (seconds < 3600) return `about ${Math.ceil(seconds / 60)} min left`;
  if (seconds < 86_400) return `about ${formatNumber(Math.round(seconds / 360) / 10)} h left`;
  return `about ${formatNumber(Math.round(seconds / 8640) / 10)} d left`;
}

/**
 * Write a moment in the reader's time: the time for today, the day with it before.
 *
 * @param {string} iso
 */
export function formatTime(iso) {
  const moment = new Date(iso);
  const today = new Date();
  if (moment.toDateString() === today.toDateString()) return CLOCK.format(moment);
  const day = moment.getFullYear() === today.getFullYear() ? DAY : YEAR;
  return `${day.format(moment)}, ${CLOCK.format(moment)}`;
}

/**
 * Write the time of day with milliseconds, in the reader's time. Called for every line of a log: no formatter is used.
 *
 * @param {string} iso
 */
export function formatExactTime(iso) {
  const moment = new Date(iso);
  const two = (/** @type {number} */ number) => String(number).padStart(2, "0");
  const millis = String(moment.getMilliseconds()).padStart(3, "0");
  return `${two(moment.getHours())}:${two(moment.getMinutes())}:${two(moment.getSeconds())}.${millis}`;
}

/**
 * Make a time element: local time to read, exact UTC time to point at.
 *
 * @param {string} iso
 * @param {(iso: string) => string} [format]
 */
export const timeElement = (iso, format = formatTime) => h("time", { datetime: iso, title: iso }, format(iso));
