// Elements made by hand. Text goes in as text nodes only: whatever a meter or a server says stays text.

const SVG = "http://www.w3.org/2000/svg";

/** An HTML element. `class`, `text`, `on` (event -> listener) and `data` are special; null and false leave an attribute out. */
export function el(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** An SVG element, likewise. */
export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

/** Text that comes from the flow and is in no dictionary: ids, names, evidence. Browsers do not translate it. */
export function datum(text, attributes = {}) {
  return el("span", { translate: "no", ...attributes, text: text ?? "" });
}

/** Set an element's text where it differs, so that a selection and a screen reader are left in peace. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Put `items` into `parent` in their order, using the elements that are there already: one per key. */
export function reconcile(parent, items, keyOf, make, update) {
  const known = parent.elementsByKey ?? new Map();
  const next = new Map();
  let place = parent.firstChild;
  for (const item of items) {
    const key = keyOf(item);
    const element = known.get(key) ?? make(item);
    update(element, item);
    next.set(key, element);
    if (element === place) place = place.nextSibling;
    else parent.insertBefore(element, place);
  }
  for (const [key, element] of known) if (next.get(key) !== element) element.remove();
  while (place) {
    const following = place.nextSibling;
    if (![...next.values()].includes(place)) place.remove();
    place = following;
  }
  parent.elementsByKey = next;
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "text") element.textContent = value;
    else if (name === "class") element.setAttribute("class", value);
    else if (name === "on") for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    else if (name === "data") Object.assign(element.dataset, value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}
