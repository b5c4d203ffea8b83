// The form where a token is asked for. The server answers with a cookie that scripts cannot read.

import { el } from "./dom.js";
import { t } from "./i18n.js";

/** The form; `entered` is called when the server has accepted the token. */
export function loginForm(entered) {
  const problem = el("p", { class: "field-error", role: "alert", id: "token-problem" });
  const token = el("input", {
    id: "token", name: "token", type: "password", autocomplete: "current-password", required: true, spellcheck: "false", "aria-describedby": "token-hint token-problem",
  });
  const form = el(
    "form",
    { class: "card login" },
    el("h1", { text: t("login.title"), tabindex: "-1" }),
    el("p", { id: "token-hint", text: t("login.hint") }),
    el("label", { for: "token", text: t("login.token") }),
    token,
    problem,
    el("button", { class: "button primary", type: "submit", text: t("login.enter") }),
  );
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    problem.textContent = "";
    const status = await send(token.value);
    if (status >= 200 && status < 300) return entered();
    problem.textContent = status === 401 || status === 403 ? t("login.wrong") : status === 429 ? t("login.too-often") : t("error.no-answer");
    token.setAttribute("aria-invalid", "true");
    token.select();
    return undefined;
  });
  return form;
}

async function send(token) {
  try {
    const body = new URLSearchParams({ token });
    return (await fetch("/login", { method: "POST", body, headers: { Accept: "application/json" } })).status;
  } catch {
    return 0;
  }
}
