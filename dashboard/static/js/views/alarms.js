// Alarms: those that stand, and those that are over.

import { datum, el } from "../dom.js";
import { Feed, emptyBox, errorBox, loadingBox } from "../feed.js";
import { timeElement } from "../format.js";
import { t, tOr } from "../i18n.js";
import { hashOf, replaceParameters } from "../router.js";
import { isTranslated, sentence } from "../sentences.js";
import { severityLabel } from "../state.js";
import { term } from "../terms.js";

const SHOWN = 200;

export function open(route) {
  return new AlarmsView(route.parameters);
}

class AlarmsView {
  constructor({ standing }) {
    this.title = t("view.alarms");
    this.standing = standing !== "false";
    this.list = el("div", {}, loadingBox());
    this.element = el(
      "div",
      { class: "view" },
      el("h1", { tabindex: "-1", text: this.title }),
      el("div", { class: "toolbar" }, el("div", { class: "chips", role: "radiogroup", "aria-label": t("alarms.filter") }, [true, false].map((value) => el("label", { class: "chip" }, el("input", { type: "radio", name: "standing", class: "visually-hidden", checked: value === this.standing, on: { change: () => this.choose(value) } }), el("span", { text: t(value ? "alarms.standing" : "alarms.past") }))))),
      this.list,
    );
    this.feed = new Feed({ path: "/alarms", parameters: this.parameters(), every: 5, show: ({ alarms }) => this.show(alarms), fail: (error) => this.list.replaceChildren(errorBox(error, () => this.feed.load())) });
  }

  alarm() {
    this.feed.refresh();
  }

  close() {
    this.feed.close();
  }

  parameters() {
    return { standing: String(this.standing), limit: String(SHOWN) };
  }

  choose(standing) {
    this.standing = standing;
    this.said = "";
    replaceParameters({ standing: standing ? "" : "false" });
    this.feed.load(this.parameters());
  }

  show(alarms) {
    const said = JSON.stringify(alarms);
    if (said === this.said) return;
    this.said = said;
    if (!alarms.length) this.list.replaceChildren(emptyBox(t(this.standing ? "alarms.none-standing" : "alarms.none"), t(this.standing ? "alarms.none-standing.why" : "alarms.none.why")));
    else this.list.replaceChildren(el("ul", { class: "alarms" }, alarms.map(card)));
  }
}

function card({ kind, subject, severity, at, raised, cleared_at: cleared, evidence, remedy }) {
  const over = Boolean(cleared) || raised === false;
  return el(
    "li",
    { class: `card alarm ${over ? "over" : severity}` },
    el("p", { class: "alarm-head" }, over ? severityLabel("healthy", t("alarms.over")) : severityLabel(severity, tOr(`severity.${severity}`, severity)), subjectOf(subject), timeElement(at, true)),
    el("h2", {}, term("alarm", kind)),
    sentence(evidence, { tag: "p", class: "evidence" }),
    remedy ? el("p", { class: "remedy" }, el("strong", { text: `${t("remedy")}: ` }), sentence(remedy)) : null,
    isTranslated(evidence) || isTranslated(remedy) ? original(evidence, remedy) : null,
    el("p", { class: "hint" }, t("alarms.raised"), " ", timeElement(at), cleared ? [", ", t("alarms.cleared"), " ", timeElement(cleared)] : null),
  );
}

/** The words of the log, to search for them there. */
function original(...texts) {
  return el("details", { class: "original" }, el("summary", { text: t("original") }), texts.filter(Boolean).map((text) => el("p", { lang: "en", translate: "no", text })));
}

function subjectOf(subject) {
  if (subject === "*") return el("span", { text: t("alarms.all-meters") });
  if (subject === "thingsboard" || subject.startsWith("thingsboard-")) return el("a", { href: "#/session" }, datum(subject));
  return el("a", { href: hashOf("meters", subject) }, datum(subject));
}
