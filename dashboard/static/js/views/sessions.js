// All sessions with ThingsBoard in one list, each with its outbox; the only one where there are not several.

const ORDER = { up: 0, connecting: 1, closed: 2, "backing-off": 3 };

/** `{ name, session, outbox }` of each session, in the order of pipeline.yaml; null for what is not known of it. */
export function sessionsOf({ session, sessions, sessions_without_owner: unowned, outbox, outboxes }) {
  const names = [...new Set([...(sessions ?? []).map(({ name }) => name), ...(unowned ?? []), ...(outboxes ?? []).map((each) => each.session)])];
  if (names.length < 2) return [{ name: session?.name ?? "", session: session ?? null, outbox: outbox ?? null }];
  const by = (list, key, name) => (list ?? []).find((each) => each[key] === name) ?? null;
  return names.map((name) => ({ name, session: by(sessions, "name", name), outbox: by(outboxes, "session", name) }));
}

/** How many of several sessions are up, and the state of the one that fares worst; null where there is one only. */
export function severalUp(overview) {
  const found = sessionsOf(overview);
  if (found.length < 2) return null;
  const states = found.map(({ session }) => session?.state ?? null);
  const worst = Math.max(...states.map((state) => ORDER[state] ?? 0));
  const state = worst > 1 ? "red" : states.includes(null) ? "unknown" : worst ? "yellow" : "green";
  return { up: states.filter((each) => each === "up").length, all: found.length, state };
}
