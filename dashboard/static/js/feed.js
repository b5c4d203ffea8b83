// What a view shows, asked for now and again while somebody looks.

import { el } from "./dom.js";
import { t } from "./i18n.js";
import { get } from "./api.js";
import { sentence } from "./sentences.js";

/**
 * Asks for a path every so many seconds. `show` gets each answer, `fail` an error before the first answer or one of the
 * client's own making (4xx); a server that stops answering later is the banner's affair, and what was shown stays.
 */
export class Feed {
  constructor({ path, parameters = {}, every = 10, show, fail }) {
    Object.assign(this, { path, parameters, every, show, fail });
    this.closed = new AbortController();
    this.answered = false;
    this.load();
  }

  /** Ask anew at once, with other parameters where given. */
  load(parameters = this.parameters) {
    this.parameters = parameters;
    this.request?.abort();
    this.request = new AbortController();
    return this.ask(this.request.signal);
  }

  /** Ask again unless an answer is on its way. */
  refresh() {
    if (!this.pending && !document.hidden) this.load();
  }

  close() {
    this.closed.abort();
    this.request?.abort();
    clearTimeout(this.timer);
  }

  async ask(signal) {
    clearTimeout(this.timer);
    this.pending = true;
    try {
      const answer = await get(this.path, this.parameters, AbortSignal.any([signal, this.closed.signal]));
      if (signal.aborted || this.closed.signal.aborted) return;
      this.answered = true;
      this.show(answer);
    } catch (error) {
      if (signal.aborted || this.closed.signal.aborted) return;
      if (error.status === undefined) throw error;
      if (!this.answered || (error.status >= 400 && error.status < 500)) this.fail?.(error);
    } finally {
      if (!signal.aborted) {
        this.pending = false;
        if (!this.closed.signal.aborted) this.timer = setTimeout(() => (document.hidden ? this.later() : this.load()), this.every * 1000);
      }
    }
  }

  later() {
    this.timer = setTimeout(() => (document.hidden ? this.later() : this.load()), 1000);
  }
}

/** What is shown instead of a view's content when it could not be had. */
export function errorBox(error, retry) {
  const text = error.status === 0 ? t("error.no-answer") : error.status === 404 ? t("error.not-found") : t("error.refused", { status: error.status });
  return el(
    "div",
    { class: "notice critical", role: "alert" },
    el("h2", { text }),
    error.message ? sentence(error.message, { tag: "p" }) : null,
    el("p", { text: error.status === 0 ? t("error.no-answer.remedy") : t("error.remedy") }),
    el("button", { type: "button", class: "button", text: t("retry"), on: { click: retry } }),
  );
}

/** What is shown where there is nothing to show, and why. */
export function emptyBox(title, explanation) {
  return el("div", { class: "notice" }, el("h2", { text: title }), explanation ? el("p", { text: explanation }) : null);
}

export const loadingBox = () => el("p", { class: "loading", text: t("loading") });
