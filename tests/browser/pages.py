"""What tests ask of a page: its log as a whole, where the keyboard is, whether it fits, whether everyone can use it."""

from __future__ import annotations

from typing import Any, Final

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, Page

__all__ = ["accessible", "badge", "fits", "focus", "json_of", "log_of", "read_log", "tab_to", "timeline_of"]

_READ_LOG: Final = """
async (log) => {
  const rendered = () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  const found = new Map();
  log.scrollTop = 0;
  for (;;) {
    await rendered();
    const window = [...log.querySelectorAll('.line')].map((line) => [Number(line.dataset.seq), line.textContent]);
    if (window.some(([seq], index) => index && seq <= window[index - 1][0]))
      throw new Error(`not in order, or doubled: ${window.map(([seq]) => seq)}`);
    window.forEach(([seq, text]) => found.set(seq, text));
    const before = log.scrollTop;
    log.scrollTop += log.clientHeight / 2;
    if (log.scrollTop === before) return [...found];
  }
}
"""

_FOCUS: Final = """
() => {
  const element = document.activeElement;
  if (!element || element === document.body) return null;
  const style = getComputedStyle(element);
  const outlined = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0;
  const box = element.getBoundingClientRect();
  return {
    visible: outlined || style.boxShadow !== 'none',
    inside: box.right > 0 && box.left < innerWidth && box.bottom > 0 && box.top < innerHeight,
    html: element.outerHTML.slice(0, 200),
  };
}
"""

_OUTSIDE: Final = """
() => {
  const controls = [...document.querySelectorAll('a, button, input, select, textarea, summary')];
  // A skip link stands aside until it has the focus.
  return controls.filter((each) => each.checkVisibility() && each.id !== 'skip').filter((each) => {
    each.scrollIntoView({block: 'nearest', inline: 'nearest', behavior: 'instant'});
    const box = each.getBoundingClientRect();
    return box.left < -0.5 || box.right > innerWidth + 0.5;
  }).map((each) => each.outerHTML);
}
"""


def log_of(page: Page) -> Locator:
    """Give the log of a run's view."""
    return page.get_by_role("log", name="Log")


def timeline_of(page: Page) -> Locator:
    """Give the timeline of a run's view."""
    return page.get_by_role("region", name="Timeline")


def json_of(page: Page, title: str) -> Locator:
    """Give the text of a run's arguments or result."""
    return page.get_by_role("region", name=title, exact=True)


def badge(within: Page | Locator, status: str) -> Locator:
    """Give what shows that a run has a status, in words."""
    return within.locator(f".status[data-status={status}]")


def read_log(page: Page) -> dict[int, str]:
    """Scroll through the whole log; return its lines by ``seq``, each seen to stand behind the one before."""
    return dict(log_of(page).evaluate(_READ_LOG))


def focus(page: Page) -> dict[str, Any]:
    """Describe what has the focus, which has to be visible."""
    found = page.evaluate(_FOCUS)
    assert found, "nothing has the focus"
    assert found["visible"], f"the focus cannot be seen: {found['html']}"
    assert found["inside"], f"the focus is out of sight: {found['html']}"
    return found


def tab_to(page: Page, target: Locator) -> None:
    """Press Tab until an element has the focus; on the way, the focus is always to be seen."""
    for _ in range(80):
        page.keyboard.press("Tab")
        if target.evaluate("(element) => element === document.activeElement"):
            focus(page)
            return
        if page.evaluate("document.activeElement !== document.body"):
            focus(page)
    raise AssertionError(f"the keyboard does not get to {target}")


def fits(page: Page) -> None:
    """Check that a page does not scroll sideways, and that what can be operated can be brought into view."""
    wide, there = page.evaluate("[document.scrollingElement.scrollWidth, innerWidth]")
    assert wide <= there, f"the page is {wide} px wide, and the window {there} px"
    assert page.evaluate(_OUTSIDE) == []


def accessible(page: Page) -> None:
    """Check a page with axe-core, all rules."""
    results = Axe().run(page)
    assert not results.violations_count, results.generate_report()
