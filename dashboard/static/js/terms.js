// Words that the flow says by a short name: in the reader's language where the dictionary knows them, else as they were said.

import { datum, el } from "./dom.js";
import { hasText, t } from "./i18n.js";

/** The term `name` of the dictionary's `family`, such as alarm or ending. */
export function term(family, name, attributes = {}) {
  const key = `${family}.${name}`;
  return hasText(key) ? el("span", { ...attributes, text: t(key) }) : datum(name, attributes);
}
