// Parses an event stream as the HTML standard describes it; only the data of events is of interest here.

export class EventParser {
  constructor() {
    this.rest = "";
    /** @type {string[]} */
    this.data = [];
  }

  /**
   * Take the next piece of the stream.
   *
   * @param {string} text
   * @returns {string[]} The data of the events that have ended with it.
   */
  push(text) {
    this.rest += text;
    /** @type {string[]} */
    const events = [];
    // A carriage return at the very end may be half of a line ending.
    const complete = this.rest.endsWith("\r") ? this.rest.slice(0, -1) : this.rest;
    const lines = complete.split(/\r\n|\n|\r/);
    this.rest = lines.pop() + this.rest.slice(complete.length);
    for (const line of lines) {
      if (line === "") this.dispatch(events);
      else if (line.startsWith("data:")) this.data.push(line.slice(line[5] === " " ? 6 : 5));
    }
    return events;
  }

  /** @param {string[]} events */
  dispatch(events) {
    if (this.data.length > 0) events.push(this.data.join("\n"));
    this.data = [];
  }
}
