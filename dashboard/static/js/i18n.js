// The page's texts: one dictionary per language, chosen by the browser's languages until the reader chooses.

import { remember, remembered } from "./remembered.js";
import { Catalogue } from "./catalogue.js";

export const LANGUAGES = { en: "English", es: "Español" };

/** The flow speaks English; for other languages there is a catalogue of its sentences, in files by topic: i18n/es/alarms.json. */
const TOPICS = ["alarms", "configuration", "descriptions", "flow", "links", "meters", "nodes", "outbox", "protocol", "push", "rejections", "session", "settings", "system", "words"];

let language = "en";
let texts = {};
let catalogue = null;
let plural = new Intl.PluralRules("en");

export const currentLanguage = () => language;

/** What translates the flow's sentences; null where they are in the reader's language already. */
export const currentCatalogue = () => catalogue;

/** Load the chosen language, or another one to be remembered. */
export async function loadLanguage(chosen = null) {
  if (chosen) remember("language", chosen);
  language = chosen ?? preferred();
  const topics = language === "en" ? [] : TOPICS.map((topic) => entries(`${language}/${topic}`).catch(() => ({})));
  texts = await entries(language);
  catalogue = topics.length ? new Catalogue(Object.assign({}, ...(await Promise.all(topics)))) : null;
  plural = new Intl.PluralRules(language);
  document.documentElement.lang = language;
}

/** The text of a key with {names} filled in; `count` chooses between key.one and key.other. */
export function t(key, values = {}) {
  const text = texts["count" in values ? `${key}.${plural.select(values.count) === "one" ? "one" : "other"}` : key];
  if (text === undefined) return key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => String(values[name] ?? whole));
}

/** The text of a key that may be missing, because a newer flow may say words that this page does not know. */
export function tOr(key, otherwise) {
  return texts[key] ?? otherwise;
}

export const hasText = (key) => key in texts;

/** Fill in the texts of the elements in index.html. */
export function translateDocument() {
  for (const element of document.querySelectorAll("[data-text]")) element.textContent = t(element.dataset.text);
  for (const element of document.querySelectorAll("[data-label]")) element.setAttribute("aria-label", t(element.dataset.label));
}

async function entries(name) {
  return (await fetch(`/static/i18n/${name}.json`)).json();
}

function preferred() {
  const chosen = remembered("language");
  if (chosen in LANGUAGES) return chosen;
  const wanted = (navigator.languages ?? [navigator.language]).map((tag) => tag.split("-")[0].toLowerCase());
  return wanted.find((tag) => tag in LANGUAGES) ?? "en";
}
