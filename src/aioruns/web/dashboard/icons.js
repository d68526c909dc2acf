// Draws the icons: strokes on a grid of 16, in the colour of the text around them.
import { svg } from "./dom.js";

/** @type {Record<string, string[]>} Paths by name. */
const PATHS = {
  pending: ["M8 2.5a5.5 5.5 0 1 0 0 11a5.5 5.5 0 0 0 0-11", "M8 5v3.2l2 1.3"],
  running: ["M13.5 8A5.5 5.5 0 1 1 8 2.5"],
  cancelling: ["M13.5 8A5.5 5.5 0 1 1 8 2.5", "M6.2 6.2h3.6v3.6H6.2z"],
  completed: ["M8 2.5a5.5 5.5 0 1 0 0 11a5.5 5.5 0 0 0 0-11", "M5.5 8.2l1.8 1.8l3.3-3.8"],
  failed: ["M8 2.5a5.5 5.5 0 1 0 0 11a5.5 5.5 0 0 0 0-11", "M6 6l4 4M10 6l-4 4"],
  cancelled: ["M8 2.5a5.5 5.5 0 1 0 0 11a5.5 5.5 0 0 0 0-11", "M4.2 11.8l7.6-7.6"],
  interrupted: ["M8.8 2L4 9h3.6L7 14l5-7.2H8.3z"],
  search: ["M7 2.8a4.2 4.2 0 1 0 0 8.4a4.2 4.2 0 0 0 0-8.4", "M10.2 10.2l3.3 3.3"],
  download: ["M8 2.5v7.5", "M5 7.2l3 3l3-3", "M3 13.2h10"],
  copy: ["M5.8 5.8h7v7h-7z", "M10.2 5.8V3.2h-7v7h2.6"],
  check: ["M3.5 8.5l3 3l6-7"],
  down: ["M8 3v9", "M4.5 9l3.5 3.5L11.5 9"],
  next: ["M4 6l4 4l4-4"],
  previous: ["M4 10l4-4l4 4"],
  wrap: ["M2.5 4h11", "M2.5 8h8.8a2.1 2.1 0 0 1 0 4.2H8", "M9.5 10.5L7.8 12.2l1.7 1.7", "M2.5 12.2h2.8"],
  retry: ["M13 8a5 5 0 1 1-1.6-3.7", "M13 2.5v2.6h-2.6"],
  cancel: ["M4.5 4.5h7v7h-7z"],
  plus: ["M8 3.2v9.6M3.2 8h9.6"],
  system: ["M2.5 3.5h11v7.2h-11z", "M6 13.3h4"],
  light: [
    "M8 5.3a2.7 2.7 0 1 0 0 5.4a2.7 2.7 0 0 0 0-5.4",
    "M8 1.6v1.2M8 13.2v1.2M1.6 8h1.2M13.2 8h1.2M3.5 3.5l.8.8M11.7 11.7l.8.8M12.5 3.5l-.8.8M4.3 11.7l-.8.8",
  ],
  dark: ["M13.2 9.6A5.6 5.6 0 0 1 6.4 2.8a5.6 5.6 0 1 0 6.8 6.8"],
  start: ["M5.5 3.8l7 4.2l-7 4.2z"],
  step: ["M8 6.2a1.8 1.8 0 1 0 0 3.6a1.8 1.8 0 0 0 0-3.6"],
  warning: ["M8 2.6l6 10.6H2z", "M8 6.6v3.2M8 11.6v.1"],
  empty: ["M2.8 4.5h7M2.8 8h10.4M2.8 11.5h6"],
};

/**
 * Draw an icon. It says nothing to screen readers: the word is beside it.
 *
 * @param {string} name
 */
export const icon = (name) =>
  svg(
    "svg",
    { class: `icon icon-${name}`, viewBox: "0 0 16 16", "aria-hidden": "true" },
    PATHS[name].map((path) => svg("path", { d: path })),
  );
