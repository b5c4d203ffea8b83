// The part of the address after #: "#/meters/house-1?span=7d" is the view "meters" with an id and parameters.

/** {view, id, parameters} of a hash; what cannot be read is left out. */
export function parseHash(hash) {
  const [path, query = ""] = hash.replace(/^#\/?/, "").split(/\?(.*)/s);
  const [view = "", id = ""] = path.split(/\/(.*)/s);
  return { view, id: decoded(id), parameters: Object.fromEntries(new URLSearchParams(query)) };
}

/** The hash of a view; empty parameters are left out. */
export function hashOf(view, id = "", parameters = {}) {
  const query = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value !== "" && value !== null && value !== undefined));
  return `#/${view}${id ? `/${encodeURIComponent(id)}` : ""}${query.size ? `?${query}` : ""}`;
}

/** Change parameters of the current view without a new entry in the history, and without opening it anew. */
export function replaceParameters(changes) {
  const { view, id, parameters } = parseHash(location.hash);
  history.replaceState(null, "", hashOf(view, id, { ...parameters, ...changes }));
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
