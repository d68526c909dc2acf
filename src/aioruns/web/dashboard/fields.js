// Builds a form field from the JSON Schema of one argument, and reads its value back.
import { h } from "./dom.js";
import { parseJson } from "./json-text.js";
import { visible, visibleLine } from "./text.js";

/**
 * @typedef {Record<string, any>} Schema
 * @typedef {{name: string, element: HTMLElement, control: any, read: () => any, setError: (detail: string | null) => void}} Field
 *   `read` gives the value, or undefined for "leave it to the job's default"; it throws a `FieldError`.
 */

/** What has been typed is not of the field's type. */
export class FieldError extends Error {}

let made = 0;

/**
 * Lay a field out: label, control, description, error.
 *
 * @param {{name: string, label: string, control: any, description?: string, hint?: string, read: () => any}} parts
 * @returns {Field}
 */
export function makeField({ name, label, control, description = "", hint = "", read }) {
  made += 1;
  const id = `field-${made}`;
  const about = h("p", { class: "field-about", id: `${id}-about` }, visible(description));
  const error = h("p", { class: "field-error", id: `${id}-error` });
  about.hidden = description === "";
  error.hidden = true;
  control.id = id;
  control.setAttribute("aria-describedby", `${id}-hint ${id}-about ${id}-error`);
  const setError = (/** @type {string | null} */ detail) => {
    error.hidden = detail === null;
    error.textContent = detail === null ? "" : visible(detail);
    if (detail === null) control.removeAttribute("aria-invalid");
    else control.setAttribute("aria-invalid", "true");
  };
  control.addEventListener("input", () => setError(null));
  const hinted = h("span", { class: "field-hint", id: `${id}-hint` }, hint);
  const heading = h(
    "div",
    { class: "field-head" },
    h("label", { for: id, class: "field-label" }, visibleLine(label)),
    hinted,
  );
  const check = control.type === "checkbox";
  const element = h(
    "div",
    { class: check ? "field field-check" : "field" },
    check ? [control, heading] : [heading, control],
    about,
    error,
  );
  return { name, element, control, read, setError };
}

/**
 * Build the field of an argument.
 *
 * @param {string} name
 * @param {Schema} given
 * @param {{required: boolean, defs: Record<string, Schema>}} context
 * @returns {Field}
 */
export function argumentField(name, given, { required, defs }) {
  const { schema, nullable } = resolve(given, defs);
  const kind = kindOf(schema);
  const hasDefault = Object.hasOwn(given, "default");
  const initial = hasDefault ? given.default : undefined;
  const { control, read, hint } = CONTROLS[kind](schema, initial, { nullable, required });
  const hints = [hint, nullable && "or null", !required && "optional"].filter(Boolean).join(", ");
  const before = snapshot(control);
  /** What has not been touched is left to the job's default. */
  const value = () => (!required && snapshot(control) === before ? undefined : read());
  return makeField({
    name,
    label: given.title ?? name,
    control,
    description: given.description ?? schema.description,
    hint: hints,
    read: value,
  });
}

/** @param {any} control */
const snapshot = (control) => (control.type === "checkbox" ? String(control.checked) : control.value);

/**
 * Follow local references, and take null out of a choice of two.
 *
 * @param {Schema} schema
 * @param {Record<string, Schema>} defs
 * @returns {{schema: Schema, nullable: boolean}}
 */
function resolve(schema, defs) {
  let nullable = false;
  for (let depth = 0; depth < 32; depth += 1) {
    const name = /^#\/\$defs\/(.+)$/.exec(schema.$ref ?? "")?.[1];
    const choices = schema.anyOf ?? schema.oneOf;
    if (name !== undefined) schema = defs[decodeURIComponent(name).replaceAll("~1", "/").replaceAll("~0", "~")] ?? {};
    else if (schema.allOf?.length === 1) schema = schema.allOf[0];
    else if (Array.isArray(choices)) {
      const rest = choices.filter((/** @type {Schema} */ choice) => choice.type !== "null");
      nullable ||= rest.length < choices.length;
      if (rest.length !== 1) return { schema: {}, nullable };
      schema = rest[0];
    } else break;
  }
  if (Array.isArray(schema.type)) {
    const rest = schema.type.filter((type) => type !== "null");
    nullable ||= rest.length < schema.type.length;
    schema = { ...schema, type: rest.length === 1 ? rest[0] : undefined };
  }
  return { schema, nullable };
}

/** @param {Schema} schema */
function kindOf(schema) {
  if (Array.isArray(schema.enum) || Object.hasOwn(schema, "const")) return "choice";
  return Object.hasOwn(CONTROLS, schema.type) && schema.type !== "choice" && schema.type !== "json"
    ? schema.type
    : "json";
}

/**
 * @typedef {{control: any, read: () => any, hint: string}} Control
 * @type {Record<string, (schema: Schema, initial: any, context: {nullable: boolean, required: boolean}) => Control>}
 */
const CONTROLS = {
  string(schema, initial, { nullable }) {
    const control = h("input", { type: "text", autocomplete: "off", spellcheck: "false", value: initial ?? "" });
    return {
      control,
      hint: schema.format ?? "",
      read: () => (control.value === "" && nullable ? null : control.value),
    };
  },
  integer: (schema, initial, context) => numberControl(initial, context, /^[+-]?\d+$/, "a whole number"),
  number: (schema, initial, context) =>
    numberControl(initial, context, /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i, "a number"),
  boolean(schema, initial, { nullable }) {
    if (nullable) return choiceControl([true, false], initial, nullable);
    const control = h("input", { type: "checkbox", checked: initial === true });
    return { control, hint: "", read: () => control.checked };
  },
  choice: (schema, initial, { nullable }) => choiceControl(schema.enum ?? [schema.const], initial, nullable),
  json(schema, initial, { required }) {
    const text = initial === undefined || (initial === null && !required) ? "" : JSON.stringify(initial, null, 2);
    const placeholder = schema.type === "array" ? "[]" : schema.type === "object" ? "{}" : "";
    const rows = String(Math.min(10, Math.max(3, text.split("\n").length)));
    const control = h("textarea", { class: "mono", rows, placeholder, spellcheck: "false", value: text });
    return { control, hint: "JSON", read: () => readJson(control.value) };
  },
};

/**
 * @param {any} initial
 * @param {{nullable: boolean}} context
 * @param {RegExp} pattern
 * @param {string} what
 * @returns {Control}
 */
function numberControl(initial, { nullable }, pattern, what) {
  const control = h("input", { type: "text", inputmode: "decimal", autocomplete: "off", value: initial ?? "" });
  const read = () => {
    const text = control.value.trim();
    if (text === "") return nullable ? null : undefined;
    if (!pattern.test(text)) throw new FieldError(`Enter ${what}.`);
    return exactNumber(text);
  };
  return { control, read, hint: what.replace(/^a /, "") };
}

/**
 * Read a number; an integer with more digits than a JavaScript number holds is sent as it was typed.
 *
 * @param {string} text
 */
function exactNumber(text) {
  const number = Number(text);
  if (!Number.isFinite(number)) throw new FieldError("This number is too large.");
  if (!/^[+-]?\d+$/.test(text) || Number.isSafeInteger(number)) return number;
  const { rawJSON } = /** @type {any} */ (JSON);
  if (rawJSON === undefined) throw new FieldError("This browser cannot send a number of so many digits.");
  return rawJSON(text.replace(/^([+-]?)0*(?=\d)/, (_, sign) => (sign === "-" ? "-" : "")));
}

/**
 * @param {any[]} values
 * @param {any} initial
 * @param {boolean} nullable
 * @returns {Control}
 */
function choiceControl(values, initial, nullable) {
  const all = nullable && !values.includes(null) ? [null, ...values] : values;
  const label = (/** @type {any} */ value) => (typeof value === "string" ? visibleLine(value) : JSON.stringify(value));
  const control = h(
    "select",
    {},
    all.map((value, index) => h("option", { value: String(index) }, label(value))),
  );
  control.value = String(Math.max(0, all.indexOf(initial)));
  return { control, hint: "", read: () => all[Number(control.value)] };
}

/** @param {string} text */
function readJson(text) {
  if (text.trim() === "") return undefined;
  try {
    return parseJson(text);
  } catch (error) {
    throw new FieldError(`This is not JSON: ${/** @type {Error} */ (error).message}`);
  }
}
