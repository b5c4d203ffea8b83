// What the reader chose, kept in this browser; a browser without storage forgets it at the next visit.

export function remembered(name) {
  try {
    return localStorage.getItem(name);
  } catch {
    return null;
  }
}

export function remember(name, value) {
  try {
    localStorage.setItem(name, value);
  } catch {
    // storage is switched off
  }
}
