// The read-only API. A failure is an ApiError with a status: 0 means that nobody answered.

const DEADLINE_MS = 10_000;

export class ApiError extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

let askForLogin = () => {};

/** What to do when the server wants a token. */
export function onLoginWanted(callback) {
  askForLogin = callback;
}

/** GET a path with parameters; those that are null or empty are left out. */
export async function get(path, parameters = {}, signal = null) {
  const query = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value !== null && value !== undefined && value !== ""));
  const deadline = AbortSignal.timeout(DEADLINE_MS);
  let response;
  try {
    response = await fetch(`${path}${query.size ? `?${query}` : ""}`, {
      headers: { Accept: "application/json" },
      cache: "no-store",
      signal: signal ? AbortSignal.any([signal, deadline]) : deadline,
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError(0, "");
  }
  if (response.status === 401) askForLogin();
  if (!response.ok) throw new ApiError(response.status, await detailOf(response));
  try {
    return await response.json();
  } catch {
    if (signal?.aborted) throw new DOMException("", "AbortError");
    throw new ApiError(0, "");
  }
}

async function detailOf(response) {
  try {
    const { detail } = await response.json();
    return typeof detail === "string" ? detail : "";
  } catch {
    return "";
  }
}
