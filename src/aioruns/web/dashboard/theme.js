// Cycles the theme: as the system says, light, dark; boot.js applies it before the first paint.
import { fill, hiddenText, setAttribute } from "./dom.js";
import { icon } from "./icons.js";

const THEMES = ["system", "light", "dark"];
const STORED = "aioruns-theme";

/** @param {HTMLElement} button */
export function initTheme(button) {
  const root = document.documentElement;
  const show = () => {
    const theme = root.dataset.theme ?? "system";
    setAttribute(button, "title", `Theme: ${theme}`);
    fill(button, icon(theme), hiddenText(`Theme: ${theme}`));
  };
  button.addEventListener("click", () => {
    const theme = THEMES[(THEMES.indexOf(root.dataset.theme ?? "system") + 1) % THEMES.length];
    if (theme === "system") delete root.dataset.theme;
    else root.dataset.theme = theme;
    try {
      localStorage.setItem(STORED, theme);
    } catch {
      // Storage may be forbidden; the theme then lasts as long as the page.
    }
    show();
  });
  show();
}
