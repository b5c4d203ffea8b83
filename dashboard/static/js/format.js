// Numbers, dates and durations as the reader's language writes them, in the browser's time zone.

import { el } from "./dom.js";
import { currentLanguage, t } from "./i18n.js";

let ahead = 0;

/** Tell what time it is on the server: ages count from there, however wrong this machine's clock is. */
export function setServerTime(iso) {
  const at = Date.parse(iso);
  if (Number.isFinite(at)) ahead = at - Date.now();
}

/** Milliseconds since 1970 on the server. */
export const serverNow = () => Date.now() + ahead;

const made = new Map();

function formatter(kind, options) {
  const key = `${currentLanguage()}|${kind.name}|${JSON.stringify(options)}`;
  if (!made.has(key)) made.set(key, new kind(currentLanguage(), options));
  return made.get(key);
}

export function number(value, digits = 0) {
  return value === null || value === undefined ? "–" : formatter(Intl.NumberFormat, { maximumFractionDigits: digits }).format(value);
}

/** A value as it was measured: all its digits, grouped. Texts and truths as they are. */
export function quantity(value) {
  if (typeof value === "number") return formatter(Intl.NumberFormat, { maximumFractionDigits: 12 }).format(value);
  if (typeof value === "boolean") return t(value ? "yes" : "no");
  return value === null || value === undefined ? "–" : String(value);
}

/** 0..1 as a percentage; never rounded up to 100 where something is missing. */
export function percent(value) {
  if (value === null || value === undefined) return "–";
  const floored = Math.floor(value * 1000 + 1e-9) / 1000;
  return formatter(Intl.NumberFormat, { style: "percent", maximumFractionDigits: 1 }).format(floored);
}

/** Items per second, or per minute where they are few. */
export function rate(perSecond) {
  if (perSecond === null || perSecond === undefined) return "–";
  if (perSecond === 0) return t("per-second", { n: number(0) });
  if (perSecond < 1) return t("per-minute", { n: number(perSecond * 60, perSecond < 1 / 6 ? 1 : 0) });
  return t("per-second", { n: number(perSecond, perSecond < 100 ? 1 : 0) });
}

const STEPS = [
  ["day", 86400],
  ["hour", 3600],
  ["minute", 60],
  ["second", 1],
];

/** Seconds as "3 h", "4.5 s", "120 ms". */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 1) return unit(Math.round(seconds * 1000), "millisecond");
  const [name, size] = STEPS.find(([, length]) => seconds >= length * (length > 1 ? 1.5 : 1)) ?? STEPS[3];
  return unit(seconds / size, name, seconds / size < 10 ? 1 : 0);
}

function unit(value, name, digits = 0) {
  return formatter(Intl.NumberFormat, { style: "unit", unit: name, unitDisplay: "short", maximumFractionDigits: digits }).format(value);
}

export function clock(at) {
  const date = new Date(at);
  const today = date.toDateString() === new Date(serverNow()).toDateString();
  return formatter(Intl.DateTimeFormat, today ? { timeStyle: "medium" } : { dateStyle: "medium", timeStyle: "medium" }).format(date);
}

export function day(isoDay) {
  return formatter(Intl.DateTimeFormat, { dateStyle: "medium", timeZone: "UTC" }).format(new Date(`${isoDay}T00:00:00Z`));
}

export function moment(at) {
  return formatter(Intl.DateTimeFormat, { dateStyle: "medium", timeStyle: "short" }).format(new Date(at));
}

/** "3 minutes ago", from the server's clock. */
export function ago(at) {
  const seconds = (serverNow() - Date.parse(at)) / 1000;
  if (seconds < 1) return t("now");
  const [name, size] = STEPS.find(([, length]) => seconds >= length) ?? STEPS[3];
  return formatter(Intl.RelativeTimeFormat, { numeric: "always", style: "short" }).format(-Math.floor(seconds / size), name);
}

/** A <time> that says when; with `relative` how long ago, kept up to date by `tick`. */
export function timeElement(at, relative = false) {
  if (!at) return el("span", { text: t("never") });
  const element = el("time", { datetime: at, title: moment(at), text: relative ? ago(at) : clock(at) });
  if (relative) element.dataset.ago = "";
  return element;
}

/** Bring all relative times up to date. */
export function tick() {
  for (const element of document.querySelectorAll("time[data-ago]")) {
    const text = ago(element.dateTime);
    if (element.textContent !== text) element.textContent = text;
  }
}
