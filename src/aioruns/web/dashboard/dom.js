// Makes DOM elements from data: text is only ever text, and a link leads only to http addresses.
import { keepFocus } from "./focus.js";

/** @typedef {Node | string | number | null | undefined | false} Child */
/** @typedef {Child | any[]} Children Arrays, however nested, count as their items. */

const SVG = "http://www.w3.org/2000/svg";
const REFUSED = /^(on|style$|srcdoc$)/i;

/**
 * Make an HTML element.
 *
 * @param {string} tag
 * @param {Record<string, any>} [props] Attributes; besides `class`, `data` (an object), `on` (listeners by event), and
 *   `value` and `checked`, which are set as properties. False, null and undefined leave an attribute away.
 * @param {...Children} children
 * @returns {any} The element, whatever its class: the callers know which tag they asked for.
 */
export function h(tag, props = {}, ...children) {
  return build(document.createElement(tag), props, children);
}

/**
 * Make an SVG element.
 *
 * @param {string} tag
 * @param {Record<string, any>} [props]
 * @param {...Children} children
 * @returns {any}
 */
export function svg(tag, props = {}, ...children) {
  return build(document.createElementNS(SVG, tag), props, children);
}

/**
 * Replace what an element contains; the keyboard keeps its place.
 *
 * @param {Element} element
 * @param {...Children} children
 */
export function fill(element, ...children) {
  keepFocus(element, () => element.replaceChildren(...nodes(children)));
}

/**
 * Change the text of an element, without work for the browser if it is the same.
 *
 * @param {Element} element
 * @param {string} text
 */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * Set or, for null, false and undefined, remove an attribute.
 *
 * @param {Element} element
 * @param {string} name
 * @param {any} value
 */
export function setAttribute(element, name, value) {
  if (REFUSED.test(name)) throw new TypeError(`the attribute ${name} is not for data`);
  if (value === null || value === undefined || value === false) return element.removeAttribute(name);
  if (name === "href" || name === "xlink:href" || name === "src") checkAddress(String(value));
  const text = value === true && !name.startsWith("aria-") ? "" : String(value);
  if (element.getAttribute(name) !== text) element.setAttribute(name, text);
}

/**
 * Make an element that only screen readers notice.
 *
 * @param {string} text
 */
export const hiddenText = (text) => h("span", { class: "visually-hidden" }, text);

/**
 * @param {any} element
 * @param {Record<string, any>} props
 * @param {Children[]} children
 */
function build(element, props, children) {
  for (const [name, value] of Object.entries(props)) {
    if (name === "data") Object.assign(element.dataset, value);
    else if (name === "on")
      for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    else if (name === "value" || name === "checked") continue;
    else setAttribute(element, name, value);
  }
  element.append(...nodes(children));
  // A select has its value only once it has its options.
  for (const name of ["value", "checked"]) if (props[name] !== undefined) element[name] = props[name];
  return element;
}

/** @param {any[]} children */
function nodes(children) {
  return children
    .flat(Infinity)
    .filter((child) => child !== null && child !== undefined && child !== false)
    .map((child) => (child instanceof Node ? child : document.createTextNode(String(child))));
}

/** @param {string} address */
function checkAddress(address) {
  const { protocol } = new URL(address, document.baseURI);
  if (protocol !== "http:" && protocol !== "https:") throw new TypeError(`links to ${protocol} are refused`);
}
