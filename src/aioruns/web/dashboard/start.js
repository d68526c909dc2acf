// The view that starts a run: a form built from the job's JSON Schema.
import { Problem, listJobs, startRun } from "./api.js";
import { fill, h } from "./dom.js";
import { FieldError, argumentField, makeField } from "./fields.js";
import { icon } from "./icons.js";
import { problemPanel } from "./shell.js";
import { setTitle } from "./status.js";
import { visible, visibleLine } from "./text.js";

/** @typedef {import("./api.js").Job} Job */
/** @typedef {import("./fields.js").Field} Field */

/**
 * Show the form.
 *
 * @param {HTMLElement} main
 * @param {{path: string[], signal: AbortSignal}} route
 */
export async function showStart(main, { path, signal }) {
  setTitle(["Start a run"]);
  const place = h("div", { class: "start-place" }, h("p", { class: "loading" }, "Loading…"));
  fill(
    main,
    h(
      "div",
      { class: "start" },
      h("header", { class: "page-head" }, h("h1", { class: "page-title", tabindex: "-1" }, "Start a run")),
      place,
    ),
  );
  const load = async () => {
    try {
      const jobs = await listJobs(signal);
      fill(place, jobs.length > 0 ? new StartForm(jobs, path.slice(1).join("/")).element : nothing());
    } catch (error) {
      if (!signal.aborted) fill(place, problemPanel(error, load));
    }
  };
  await load();
}

const nothing = () =>
  h(
    "div",
    { class: "blank" },
    icon("empty"),
    h("p", { class: "blank-title" }, "No jobs are known here"),
    h("p", {}, "Give them to the manager: ", h("code", {}, "RunManager(jobs=[…])"), "."),
  );

class StartForm {
  /** @param {Job[]} jobs @param {string} chosen */
  constructor(jobs, chosen) {
    this.jobs = new Map(jobs.map((job) => [job.name, job]));
    this.select = h(
      "select",
      { id: "job", on: { change: () => this.choose(this.select.value, true) } },
      jobs.map(({ name }) => h("option", { value: name }, visibleLine(name))),
    );
    this.about = h("p", { class: "job-about" });
    this.arguments = h("div", { class: "fields" });
    this.alert = h("div", { class: "alert", role: "alert", hidden: true });
    this.button = h("button", { type: "submit", class: "primary" }, icon("plus"), "Start run");
    this.options = optionFields();
    this.busy = false;
    this.element = h(
      "form",
      { class: "panel form", novalidate: true, on: { submit: (/** @type {Event} */ event) => this.submit(event) } },
      h("div", { class: "field" }, h("label", { for: "job", class: "field-label" }, "Job"), this.select, this.about),
      this.arguments,
      h(
        "details",
        { class: "options" },
        h("summary", {}, "Options"),
        h(
          "div",
          { class: "fields" },
          this.options.map(({ element }) => element),
        ),
      ),
      this.alert,
      h("div", { class: "form-end" }, this.button),
    );
    const known = this.jobs.has(chosen);
    this.choose(known ? chosen : jobs[0].name, false);
    if (chosen !== "" && !known) this.refuse(`The job ${visibleLine(chosen)} is not known here.`);
  }

  /** @param {string} name @param {boolean} remember */
  choose(name, remember) {
    const job = /** @type {Job} */ (this.jobs.get(name));
    this.select.value = name;
    this.alert.hidden = true;
    this.about.textContent = visible(job.description ?? "");
    this.about.hidden = !job.description;
    const { properties = {}, required = [], $defs: defs = {} } = job.arguments;
    /** @type {Field[]} */
    this.fields = Object.entries(properties).map(([each, schema]) =>
      argumentField(each, /** @type {any} */ (schema), { required: required.includes(each), defs }),
    );
    const none = h("p", { class: "quiet-text" }, "This job takes no arguments.");
    fill(this.arguments, this.fields.length > 0 ? this.fields.map(({ element }) => element) : none);
    if (remember) history.replaceState(null, "", `#/start/${encodeURIComponent(name)}`);
  }

  /** @param {Event} event */
  async submit(event) {
    event.preventDefault();
    if (this.busy) return; // a second click, or Enter held down
    this.alert.hidden = true;
    const args = readFields(this.fields ?? []);
    const options = readFields(this.options);
    if (args === null || options === null) return this.showFirstError();
    this.busy = true;
    try {
      const run = await startRun({ job: this.select.value, args, ...options });
      location.hash = `#/runs/${run.id}`;
    } catch (error) {
      this.showProblem(error);
    } finally {
      this.busy = false;
    }
  }

  /** @param {unknown} error */
  showProblem(error) {
    const errors = error instanceof Problem ? error.errors : [];
    const left = errors.filter((each) => !this.place(each));
    if (left.length > 0) this.refuse(left.map(({ name, detail }) => `${name}: ${detail}`).join("\n"));
    else if (errors.length === 0) this.refuse(error instanceof Problem ? error.message : String(error));
    this.showFirstError();
  }

  /**
   * Show an error beside its field, if there is one.
   *
   * @param {{name: string, detail: string, in?: string}} error `in` tells an argument from a field of the same name.
   */
  place({ name, detail, in: where }) {
    const byName = (/** @type {Field} */ field) => field.name === name;
    const option = this.options.find(byName);
    const field = where === "body" ? option : (this.fields?.find(byName) ?? option);
    field?.setError(detail);
    return field !== undefined;
  }

  showFirstError() {
    const field = [...(this.fields ?? []), ...this.options].find(({ control }) => control.hasAttribute("aria-invalid"));
    const folded = field?.control.closest("details");
    if (folded) folded.open = true;
    field?.control.focus();
  }

  /** @param {string} reason */
  refuse(reason) {
    this.alert.hidden = false;
    fill(this.alert, icon("warning"), h("span", {}, visible(reason)));
  }
}

/**
 * Read fields; what is wrong is shown beside them.
 *
 * @param {Field[]} fields
 * @returns {Record<string, any> | null} Null if anything is wrong.
 */
function readFields(fields) {
  /** @type {[string, any][]} */
  const values = [];
  let wrong = false;
  for (const field of fields) {
    field.setError(null);
    try {
      const value = field.read();
      if (value !== undefined) values.push([field.name, value]);
    } catch (error) {
      if (!(error instanceof FieldError)) throw error;
      field.setError(error.message);
      wrong = true;
    }
  }
  // An argument may be called "__proto__".
  return wrong ? null : Object.fromEntries(values);
}

/** @returns {Field[]} */
function optionFields() {
  const key = h("input", { type: "text", autocomplete: "off", spellcheck: "false" });
  const conflict = h(
    "select",
    {},
    h("option", { value: "reject" }, "Refuse"),
    h("option", { value: "join" }, "Join the active run"),
  );
  const tags = h("input", { type: "text", autocomplete: "off", spellcheck: "false" });
  const timeout = h("input", { type: "text", inputmode: "decimal", autocomplete: "off" });
  const seconds = () => {
    const text = timeout.value.trim();
    if (text !== "" && !(Number(text) > 0)) throw new FieldError("Enter a number of seconds greater than 0.");
    return text === "" ? undefined : Number(text);
  };
  const listed = () =>
    tags.value
      .split(",")
      .map((/** @type {string} */ tag) => tag.trim())
      .filter(Boolean);
  return [
    makeField({
      name: "key",
      label: "Key",
      control: key,
      description: "At most one active run holds a key.",
      read: () => key.value || undefined,
    }),
    makeField({
      name: "on_conflict",
      label: "If the key is held",
      control: conflict,
      read: () => (conflict.value === "reject" ? undefined : conflict.value),
    }),
    makeField({
      name: "tags",
      label: "Tags",
      control: tags,
      description: "Separated by commas.",
      read: () => (listed().length > 0 ? listed() : undefined),
    }),
    makeField({
      name: "timeout",
      label: "Timeout (s)",
      control: timeout,
      description: "For each attempt; empty for the job's own.",
      read: seconds,
    }),
  ];
}
