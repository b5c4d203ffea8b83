// The counts of the last window, a tile each; each leads to the view that explains it.

import { el, setText } from "../dom.js";
import { clock, duration, number, percent, rate, serverNow } from "../format.js";
import { hasText, t, tOr } from "../i18n.js";
import { effective, isBelievable, stateShape } from "../state.js";
import { severalUp } from "./sessions.js";

const STATES = ["green", "yellow", "red", "unknown"];

export class Tiles {
  constructor() {
    this.tiles = {
      meters: tile("meters", "#/meters"),
      cycles: tile("cycles", "#/meters?sort=success"),
      published: tile("published", "#/session"),
      rate: tile("rate", "#/flow"),
      session: tile("session", "#/session"),
      outbox: tile("outbox", "#/session"),
      gaps: tile("gaps", "#/meters?sort=-gaps"),
      alarms: tile("alarms", "#/alarms"),
    };
    this.window = el("h2", { text: t("window.none") });
    this.element = el("section", { class: "window", "aria-label": t("window.label") }, this.window, el("ul", { class: "tiles" }, Object.values(this.tiles).map((each) => each.element)));
  }

  update(overview) {
    const { window, meters, rate: speed, session, outbox, gaps, alarms } = overview;
    const { tiles } = this;
    setText(this.window, window ? t("window.from-to", { start: clock(window.start), end: clock(window.end) }) : t("window.none"));
    fill(tiles.meters, number(meters.total), meterCounts(meters), worst(meters));
    fill(tiles.cycles, number(window?.cycles ?? null), window ? t("tile.cycles.detail", { ok: number(window.ok), partial: number(window.partial), failed: number(window.failed) }) : "", window && cyclesState(window));
    fill(tiles.published, window?.cycles ? percent(window.cycles_published / window.cycles) : "–", window ? t("tile.published.detail", { published: number(window.published), rejected: number(window.rejected) }) : "", window?.cycles ? publishedState(window) : null);
    fill(tiles.rate, rate(isBelievable() ? (speed?.readings_per_second ?? null) : null), t("tile.rate.detail"), null);
    const several = severalUp(overview);
    if (several) fill(tiles.session, isBelievable() ? t("tile.session.several", { up: number(several.up), all: number(several.all) }) : t("state.unknown"), t("tile.session.several.detail"), several.state);
    else fill(tiles.session, session ? (isBelievable() ? tOr(`session.state.${session.state}`, session.state) : t("state.unknown")) : "–", session?.since ? t("tile.session.detail", { since: clock(session.since) }) : t("session.none"), session ? (session.state === "up" ? "green" : session.state === "connecting" ? "yellow" : "red") : "unknown");
    fill(tiles.outbox, number(outbox?.waiting ?? null), outboxDetail(outbox), outbox?.dead ? "yellow" : null);
    fill(tiles.gaps, number(gaps?.open ?? null), t("tile.gaps.detail", { lost: number(gaps?.lost ?? null) }), gaps?.open ? "yellow" : null);
    const standing = Object.values(alarms ?? {}).reduce((sum, count) => sum + count, 0);
    fill(tiles.alarms, number(standing), Object.entries(alarms ?? {}).filter(([, count]) => count).map(bySeverity).join(", ") || t("tile.alarms.none"), alarms?.critical ? "red" : standing ? "yellow" : "green");
  }
}

function tile(name, href) {
  const shape = el("span", { class: "tile-state" });
  const value = el("span", { class: "tile-value", text: "–" });
  const detail = el("span", { class: "tile-detail" });
  const link = el("a", { class: "tile", href, data: { tile: name } }, el("span", { class: "tile-name", text: t(`tile.${name}`) }), el("span", { class: "tile-main" }, shape, value), detail);
  return { element: el("li", {}, link), link, shape, value, detail };
}

function fill({ link, shape, value, detail }, text, explanation, state) {
  setText(value, text);
  setText(detail, explanation);
  const shown = state ? effective(state) : "";
  if (link.dataset.state === shown) return;
  link.dataset.state = shown;
  shape.replaceChildren(...(shown ? [stateShape(shown), el("span", { class: "visually-hidden", text: `${t(`state.${shown}`)}: ` })] : []));
}

const meterCounts = (meters) => STATES.filter((state) => meters[state]).map((state) => t(`count.${state}`, { n: number(meters[state]), count: meters[state] })).join(", ") || t("tile.meters.none");

const worst = (meters) => (meters.red ? "red" : meters.yellow ? "yellow" : meters.green ? "green" : "unknown");

const cyclesState = ({ cycles, ok, failed }) => (cycles === 0 ? "unknown" : ok === cycles ? "green" : failed === cycles ? "red" : "yellow");

const publishedState = ({ cycles, cycles_published: published }) => (published / cycles >= 0.95 ? "green" : published / cycles >= 0.5 ? "yellow" : "red");

function bySeverity([severity, count]) {
  const key = `alarm-count.${severity}`;
  return hasText(`${key}.other`) ? t(key, { n: number(count), count }) : `${number(count)} ${severity}`;
}

function outboxDetail(outbox) {
  if (!outbox) return t("outbox.none");
  const parts = [outbox.oldest && outbox.waiting ? t("tile.outbox.oldest", { age: duration(Math.max(0, (serverNow() - Date.parse(outbox.oldest)) / 1000)) }) : t("tile.outbox.detail")];
  if (outbox.dead) parts.push(t("tile.outbox.dead", { n: number(outbox.dead), count: outbox.dead }));
  return parts.join(", ");
}
