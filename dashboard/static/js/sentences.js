// What the flow says in sentences, shown: in the reader's language where the catalogue has it, with the original words at hand.

import { el } from "./dom.js";
import { currentCatalogue, currentLanguage } from "./i18n.js";

/** An element with `text`; what the catalogue does not have stays English and says so. */
export function sentence(text, { tag = "span", ...attributes } = {}) {
  const parts = text ? (currentCatalogue()?.translate(text) ?? []) : [];
  if (!parts.some(({ translated }) => translated)) return el(tag, { lang: "en", translate: "no", ...attributes, text: text || "–" });
  const shared = { lang: currentLanguage(), translate: "no", title: text, ...attributes };
  if (parts.length === 1) return el(tag, { ...shared, text: parts[0].text });
  return el(tag, shared, parts.map((part) => (part.translated === false ? el("span", { lang: "en", text: part.text }) : part.text)));
}

/** The same as text alone, for where there can be no elements. */
export function plainSentence(text) {
  return (currentCatalogue()?.translate(text) ?? [{ text }]).map((part) => part.text).join("");
}

/** The same with the original below where it differs, for a place that is too narrow for all of it. */
export function bothWays(text) {
  return [...new Set([plainSentence(text), text])].join("\n");
}

/** Whether the reader sees other words than those that were said. */
export function isTranslated(text) {
  return Boolean(text && currentCatalogue()?.translate(text).some(({ translated }) => translated));
}
