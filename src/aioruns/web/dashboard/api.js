// Calls the HTTP API; what it refuses becomes a `Problem`.
import { setClock } from "./clock.js";
import { parseJson } from "./json-text.js";

// Relative to this file, so that the dashboard works wherever the application is mounted.
const BASE = new URL("../api/", import.meta.url);

/**
 * @typedef {{current: number, total: number | null, step: string | null, message: string | null}} Progress
 * @typedef {"pending" | "running" | "cancelling" | "completed" | "failed" | "cancelled" | "interrupted"} Status
 * @typedef {{
 *   id: number, job: string, status: Status, active: boolean, key: string | null, attempt: number,
 *   timeout: number | null, tags: string[], triggered_by: string | null, retry_of: number | null, error: string | null,
 *   created_at: string, started_at: string | null, finished_at: string | null, cancel_requested_at: string | null,
 *   cancel_reason: string | null, progress: Progress | null,
 * }} RunSummary
 * @typedef {RunSummary & {idempotency_key: string | null, arguments: any, result: any, traceback: string | null}} Run
 * @typedef {{run_id: number, seq: number, at: string, kind: string, attempt: number, data: any, run?: Run | null}} RunEvent
 * @typedef {{name: string, description: string | null, arguments: any, timeout: number | null}} Job
 * @typedef {{
 *   since: string, width: number, among: number, longer_than: number[],
 *   periods: {start: string, counts: Record<string, number>}[],
 *   jobs: {job: string, runs: number, durations: number[]}[],
 * }} Overview
 */

/** What the server refused, after RFC 9457, or that it could not be reached: then `status` is 0. */
export class Problem extends Error {
  /**
   * @param {number} status
   * @param {{title?: string, detail?: string, errors?: {name: string, detail: string}[]}} [body]
   */
  constructor(status, body = {}) {
    super(body.detail || body.title || `The server answered with status ${status}.`);
    this.status = status;
    this.errors = body.errors ?? [];
  }

  /** Whether the same call may succeed later. */
  get passing() {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

/**
 * @param {string} path Relative to the API.
 * @param {Record<string, any>} [query] Null, undefined and "" leave a parameter away, a list repeats it.
 */
export function address(path, query = {}) {
  const url = new URL(path, BASE);
  for (const [name, value] of Object.entries(query)) {
    for (const each of [value].flat()) {
      if (each !== null && each !== undefined && each !== "") url.searchParams.append(name, String(each));
    }
  }
  return url.href;
}

/**
 * Call the API.
 *
 * @param {string} url
 * @param {RequestInit} [init]
 * @returns {Promise<Response>} With a status of 200 to 299.
 * @throws {Problem} Refused, or not reached.
 */
export async function call(url, init = {}) {
  let response;
  try {
    response = await fetch(url, { cache: "no-store", credentials: "same-origin", ...init });
  } catch (error) {
    if (init.signal?.aborted) throw error;
    throw new Problem(0, { detail: "The server cannot be reached." });
  }
  setClock(response);
  if (response.ok) return response;
  throw new Problem(response.status, await response.json().catch(() => ({ title: response.statusText })));
}

/**
 * @param {string} url
 * @param {AbortSignal} [signal]
 * @returns {Promise<any>}
 */
async function get(url, signal) {
  const response = await call(url, { signal, headers: { Accept: "application/json" } });
  return parseJson(await response.text());
}

/**
 * @param {string} path
 * @param {any} [body]
 * @returns {Promise<Run>}
 */
async function post(path, body = {}) {
  const headers = { Accept: "application/json", "Content-Type": "application/json" };
  const response = await call(address(path), { method: "POST", headers, body: JSON.stringify(body) });
  return parseJson(await response.text());
}

/**
 * @param {Record<string, any>} filter
 * @param {AbortSignal} [signal]
 * @returns {Promise<{items: RunSummary[], next: number | null}>}
 */
export const listRuns = (filter, signal) => get(address("runs", filter), signal);
/** @param {number} id @param {AbortSignal} [signal] @returns {Promise<Run>} */
export const getRun = (id, signal) => get(address(`runs/${id}`), signal);
/**
 * @param {number} id
 * @param {number} after
 * @param {AbortSignal} [signal]
 * @returns {Promise<{items: RunEvent[], next: number | null}>}
 */
export const readEvents = (id, after, signal) => get(address(`runs/${id}/events`, { after, limit: PAGE }), signal);
/** @param {number} hours @param {AbortSignal} [signal] @returns {Promise<Overview>} */
export const getOverview = (hours, signal) => get(address("overview", { hours }), signal);
/** @param {AbortSignal} [signal] @returns {Promise<Job[]>} */
export const listJobs = async (signal) => (await get(address("jobs"), signal)).items;
/** @param {any} request */
export const startRun = (request) => post("runs", request);
/** @param {number} id */
export const cancelRun = (id) => post(`runs/${id}/cancel`);
/** @param {number} id */
export const retryRun = (id) => post(`runs/${id}/retry`);
/** @param {number} id */
export const logAddress = (id) => address(`runs/${id}/log.txt`);

/** Events that one page may have. */
export const PAGE = 1000;
