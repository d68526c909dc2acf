// Shows what others have written: characters that would act, or hide, become characters that can be seen.

// C0 and C1 controls except tab and newline; marks that turn the direction of text; characters without width;
// separators that break lines; halves of surrogate pairs.
const UNSEEN =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]|\p{Cs}/gu;
const HAS_UNSEEN = new RegExp(UNSEEN.source, "u");

/**
 * Make every character of a text visible. ANSI escapes lose their power with their first character.
 *
 * @param {unknown} value
 * @returns {string}
 */
export function visible(value) {
  const text = typeof value === "string" ? value : String(value);
  if (!HAS_UNSEEN.test(text)) return text;
  return text.replaceAll("\r\n", "\n").replace(UNSEEN, picture);
}

/**
 * Make every character of a text visible and keep it on one line.
 *
 * @param {unknown} value
 * @returns {string}
 */
export const visibleLine = (value) => visible(value).replaceAll("\n", "␊").replaceAll("\t", " ");

/** @param {string} character */
function picture(character) {
  const code = character.charCodeAt(0);
  if (code < 0x20) return String.fromCharCode(0x2400 + code);
  if (code === 0x7f) return "␡";
  return `⟨U+${code.toString(16).toUpperCase().padStart(4, "0")}⟩`;
}
