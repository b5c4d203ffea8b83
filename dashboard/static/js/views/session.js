// The sessions with ThingsBoard: who has each, since when, why the last ones ended, and what waits for it.

import { datum, el, reconcile, setText } from "../dom.js";
import { emptyBox, loadingBox } from "../feed.js";
import { duration, number, serverNow, timeElement } from "../format.js";
import { t, tOr } from "../i18n.js";
import { sentence } from "../sentences.js";
import { effective, stateShape } from "../state.js";
import { term } from "../terms.js";
import { facts } from "./facts.js";
import { sessionsOf } from "./sessions.js";

const MOST_ENDS = 100;
const STATES = { up: "green", connecting: "yellow", "backing-off": "red", closed: "red" };

export function open() {
  return new SessionView();
}

class SessionView {
  constructor() {
    this.title = t("view.session");
    this.sessions = el("div", { class: "view" });
    this.causes = el("div", {});
    this.ends = el("div", {}, loadingBox());
    this.element = el(
      "div",
      { class: "view" },
      el("h1", { tabindex: "-1", text: this.title }),
      this.sessions,
      el("section", { class: "card" }, el("h2", { text: t("session.ends") }), this.causes, this.ends),
    );
  }

  update(overview) {
    this.overview = overview;
    const found = sessionsOf(overview);
    const several = found.length > 1;
    const ends = latest(found, several);
    reconcile(this.sessions, found, ({ name }) => name, both, (element, one) => this.show(element, one, several));
    const counts = sum(found.map(({ session }) => session?.ends_by_cause ?? {}));
    this.part(this.causes, counts, () => causes(counts));
    this.part(this.ends, [ends, several], () => (ends.length ? endTable(ends, several) : emptyBox(t("session.ends.empty"), t("session.ends.empty.why"))));
  }

  show({ parts }, { name, session, outbox }, several) {
    setText(parts.title, several ? t("session.named", { name }) : t("session.now"));
    this.part(parts.session, [session, effective("green")], () => (session ? now(session) : emptyBox(t("session.empty"), t("session.empty.why"))));
    this.part(parts.outbox, outbox, () => (outbox ? waiting(outbox) : emptyBox(t("outbox.empty"), t("outbox.empty.why"))));
  }

  redraw() {
    if (this.overview) this.update(this.overview);
  }

  part(place, content, draw) {
    const said = JSON.stringify(content ?? null);
    if (place.said === said) return;
    place.said = said;
    place.replaceChildren(...[draw()].flat());
  }
}

/** The two cards of one session. */
function both() {
  const parts = { title: el("h2"), session: el("div", {}, loadingBox()), outbox: el("div", {}, loadingBox()) };
  const element = el("div", { class: "columns" }, el("section", { class: "card" }, parts.title, parts.session), el("section", { class: "card" }, el("h2", { text: t("outbox.title") }), parts.outbox));
  return Object.assign(element, { parts });
}

/** The ends of all sessions, newest first. */
function latest(found, several) {
  const all = found.flatMap(({ name, session }) => (session?.ends ?? []).map((end) => ({ ...end, session: name })));
  return several ? all.sort((a, b) => Date.parse(b.at) - Date.parse(a.at)).slice(0, MOST_ENDS) : all;
}

function sum(counts) {
  const total = {};
  for (const each of counts) for (const [cause, count] of Object.entries(each)) total[cause] = (total[cause] ?? 0) + count;
  return total;
}

function now(session) {
  const state = effective(STATES[session.state] ?? "unknown");
  const { owner } = session;
  return [
    el("p", { class: "headline" }, el("span", { class: `state ${state}`, data: { state } }, stateShape(state), el("span", { text: state === "unknown" ? t("state.unknown") : tOr(`session.state.${session.state}`, session.state) })), el("span", {}, t("session.since"), " ", timeElement(session.since))),
    facts([
      [t("session.server"), datum(session.server ?? "–", { class: "code" })],
      [t("session.owner"), owner ? datum(t("session.owner.is", { pid: String(owner.pid), host: owner.host, process: String(owner.process) })) : t("session.owner.none")],
      [t("session.client"), datum(session.client_id ?? "–", { class: "code" })],
      [t("session.protocol"), datum(`MQTT ${session.protocol ?? "–"}`)],
      [t("session.sent"), number(session.sent)],
      [t("session.acknowledged"), number(session.acknowledged)],
    ]),
  ];
}

function waiting(outbox) {
  const age = outbox.oldest && outbox.waiting ? Math.max(0, (serverNow() - Date.parse(outbox.oldest)) / 1000) : null;
  return [
    el("p", { class: "headline" }, el("span", { class: "big", text: outbox.exact === false ? t("outbox.at-most", { n: number(outbox.waiting) }) : number(outbox.waiting) }), el("span", { text: t("outbox.waiting") })),
    facts([
      [t("outbox.oldest"), age === null ? "–" : timeElement(outbox.oldest, true)],
      [t("outbox.acknowledged"), timeElement(outbox.acknowledged, true)],
      [t("outbox.dead"), number(outbox.dead)],
    ]),
    outbox.dead ? el("p", { class: "remedy", text: t("outbox.dead.remedy") }) : null,
  ].filter(Boolean);
}

function causes(byCause) {
  const ordered = Object.entries(byCause).sort((a, b) => b[1] - a[1]);
  if (!ordered.length) return "";
  const most = ordered[0][1];
  return el("ul", { class: "causes" }, ordered.map(([cause, count]) => el("li", {}, term("ending", cause), bar(count / most), el("span", { class: "number", text: t("session.times", { n: number(count), count }) }))));
}

function bar(part) {
  const filled = el("span", { class: "bar-filled" });
  filled.style.width = `${100 * part}%`;
  return el("span", { class: "bar-track", "aria-hidden": "true" }, filled);
}

function endTable(ends, several) {
  const columns = ["at", ...(several ? ["session"] : []), "cause", "remedy", "code", "lasted"];
  const cells = ({ at, session, cause, detail, code, lasted }) => [
    timeElement(at),
    ...(several ? [datum(session)] : []),
    [el("strong", {}, term("ending", cause)), detail ? sentence(detail, { class: "secondary" }) : null],
    tOr(`ending.${cause}.remedy`, "–"),
    datum(code === null || code === undefined ? "–" : `${code} (0x${code.toString(16).padStart(2, "0").toUpperCase()})`, { class: "code" }),
    duration(lasted),
  ];
  return el("div", { class: "scroller", tabindex: "0", role: "region", "aria-label": t("session.ends") }, el("table", { class: "grid stack ends", role: "table" }, el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, columns.map((name) => el("th", { role: "columnheader", scope: "col", text: t(`session.column.${name}`) })))), el("tbody", { role: "rowgroup" }, ends.map((end) => el("tr", { role: "row", data: { cause: end.cause } }, cells(end).map((content, index) => el("td", { role: "cell", "data-column": t(`session.column.${columns[index]}`) }, content)))))));
}
