// Keeps the keyboard's place when the control that has the focus is disabled, hidden, removed or made anew.

/**
 * Disable a button or enable it. It keeps the focus, which a `disabled` one would lose, and ignores being activated.
 *
 * @param {HTMLElement} button
 * @param {boolean} enabled
 */
export function setEnabled(button, enabled) {
  if (enabled) button.removeAttribute("aria-disabled");
  else button.setAttribute("aria-disabled", "true");
}

/** Let disabled buttons ignore clicks, and the keys that click: before any listener of theirs is called. */
export function ignoreDisabled() {
  const ignore = (/** @type {Event} */ event) => {
    if (!(event.target instanceof Element) || !event.target.closest('[aria-disabled="true"]')) return;
    event.preventDefault();
    event.stopImmediatePropagation();
  };
  document.addEventListener("click", ignore, { capture: true });
}

/**
 * Change what is within an element. If what has the focus is gone then, its successor gets the focus: what looks the
 * same in the new content, else what the caller names, else the part of the page that scrolls, else the view's title.
 *
 * @param {Element} within
 * @param {() => void} change
 * @param {() => HTMLElement | null | undefined} [successor]
 */
export function keepFocus(within, change, successor) {
  const held = document.activeElement;
  if (!(held instanceof HTMLElement) || held === document.body || !within.contains(held)) return change();
  const look = lookOf(held);
  const place = alike(within, held.localName, look).indexOf(held);
  change();
  // A browser may let a hidden element have the focus until it draws the next frame, so that is no answer.
  if (document.activeElement === held && held.checkVisibility()) return;
  const heirs = held.isConnected && held.checkVisibility() ? [held] : alike(within, held.localName, look);
  const heir =
    heirs[Math.min(Math.max(place, 0), heirs.length - 1)] ??
    successor?.() ??
    within.closest('[tabindex="0"]') ??
    document.querySelector("main h1");
  /** @type {HTMLElement | null} */ (heir)?.focus({ preventScroll: true });
}

/**
 * @param {Element} within
 * @param {string} tag
 * @param {string} look
 * @returns {HTMLElement[]} What can be seen there and looks the same, in the order of the page.
 */
function alike(within, tag, look) {
  const all = /** @type {HTMLElement[]} */ ([...within.querySelectorAll(tag)]);
  return all.filter((each) => lookOf(each) === look && each.checkVisibility());
}

/** @param {Element} element What people know it by; the numbers in it may change. */
const lookOf = (element) => (element.getAttribute("aria-label") ?? element.textContent ?? "").replace(/\d+/g, "0");
