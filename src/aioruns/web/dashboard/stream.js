// Follows the events of one run: first the backlog in pages, then live, through every interruption, none lost or doubled.
import { PAGE, Problem, address, call, readEvents } from "./api.js";
import { breathe, sleep, untilVisible } from "./clock.js";
import { parseJson } from "./json-text.js";
import { EventParser } from "./sse.js";
import { isTerminal } from "./status.js";

const FIRST_DELAY = 500;
const LONGEST_DELAY = 5000;
/** The server says something every 15 s; a connection that is silent for longer is dead. */
const SILENCE = 40_000;

/**
 * @typedef {import("./api.js").RunEvent} RunEvent
 * @typedef {"loading" | "live" | "disconnected" | "paused" | "ended"} StreamState
 * @typedef {{
 *   onEvents: (events: RunEvent[]) => void, onState: (state: StreamState) => void, onProblem: (problem: Problem) => void,
 * }} Listener
 */

/**
 * Follow a run until it has ended, the server refuses, or the signal is aborted.
 *
 * @param {number} id
 * @param {Listener} listener
 * @param {AbortSignal} signal
 */
export async function followRun(id, listener, signal) {
  const follower = new Follower(id, listener);
  let delay = FIRST_DELAY;
  while (!signal.aborted && !follower.ended) {
    await whileVisible(signal, async (inner) => {
      const before = follower.seq;
      try {
        await follower.read(inner);
      } catch (error) {
        if (inner.aborted) return;
        if (error instanceof Problem && !error.passing) {
          follower.ended = true;
          listener.onProblem(error);
          return;
        }
      }
      if (follower.ended || inner.aborted) return;
      listener.onState("disconnected");
      if (follower.seq > before) delay = FIRST_DELAY;
      // Many dashboards of one server should not all come back in the same moment.
      await sleep(delay * (0.75 + Math.random() / 2), inner);
      delay = Math.min(delay * 2, LONGEST_DELAY);
    });
    if (document.hidden && !signal.aborted && !follower.ended) listener.onState("paused");
  }
}

/** What has been read of a run's events, and how to read on. */
class Follower {
  /** @param {number} id @param {Listener} listener */
  constructor(id, listener) {
    this.id = id;
    this.listener = listener;
    this.seq = 0;
    this.caughtUp = false;
    this.ended = false;
  }

  /** @param {AbortSignal} signal */
  async read(signal) {
    if (!this.caughtUp) await this.readBacklog(signal);
    if (!this.ended) await this.readLive(signal);
    if (this.ended) this.listener.onState("ended");
  }

  /** @param {AbortSignal} signal */
  async readBacklog(signal) {
    this.listener.onState("loading");
    let page = await readEvents(this.id, this.seq, signal);
    for (;;) {
      const full = page.items.length >= PAGE && page.next !== null;
      // The next page travels while this one is taken in.
      const following = full ? readEvents(this.id, page.next ?? 0, signal) : null;
      following?.catch(() => {}); // whoever awaits it is told; if nobody comes to that, nobody needs to know
      this.take(page.items);
      if (following === null) break;
      await breathe();
      page = await following;
    }
    this.caughtUp = true;
  }

  /** @param {AbortSignal} signal */
  async readLive(signal) {
    const watched = new AbortController();
    const forward = () => watched.abort();
    signal.addEventListener("abort", forward);
    let alarm = setTimeout(forward, SILENCE);
    try {
      const headers = { Accept: "text/event-stream", "Last-Event-ID": String(this.seq) };
      const response = await call(address(`runs/${this.id}/events`), { headers, signal: watched.signal });
      if (response.status === 204 || response.body === null) {
        this.ended = true;
        return;
      }
      this.listener.onState("live");
      const parser = new EventParser();
      for await (const text of chunks(response.body)) {
        clearTimeout(alarm);
        alarm = setTimeout(forward, SILENCE);
        this.take(parser.push(text).map(parseJson));
        if (this.ended) return;
        await breathe();
      }
    } finally {
      clearTimeout(alarm);
      signal.removeEventListener("abort", forward);
      watched.abort();
    }
  }

  /**
   * Hand on what is new. A gap, which only a broken proxy could make, is read again.
   *
   * @param {RunEvent[]} events
   */
  take(events) {
    const fresh = [];
    let gap = false;
    for (const event of events) {
      if (event.seq <= this.seq) continue;
      gap = event.seq > this.seq + 1;
      if (gap) break;
      this.seq = event.seq;
      fresh.push(event);
      if (event.kind === "status" && isTerminal(event.data.status)) this.ended = true;
    }
    if (fresh.length > 0) this.listener.onEvents(fresh);
    if (gap) throw new Error(`event ${this.seq + 1} is missing`);
  }
}

/**
 * Do something while the page is visible; its signal is aborted when the page is hidden.
 *
 * @param {AbortSignal} signal
 * @param {(signal: AbortSignal) => Promise<void>} work
 */
async function whileVisible(signal, work) {
  await untilVisible(signal);
  if (signal.aborted) return;
  const inner = new AbortController();
  const stop = () => inner.abort();
  const look = () => document.hidden && stop();
  document.addEventListener("visibilitychange", look);
  signal.addEventListener("abort", stop);
  try {
    await work(inner.signal);
  } finally {
    document.removeEventListener("visibilitychange", look);
    signal.removeEventListener("abort", stop);
  }
}

/** @param {ReadableStream<Uint8Array>} body */
async function* chunks(body) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield decoder.decode(value, { stream: true });
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
