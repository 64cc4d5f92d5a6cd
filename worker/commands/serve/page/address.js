// What the page's address says: the open market, after `#`, and the interval of the states, such as
// `?interval=5m`; without, they are those of the candle interval.

const MARKET = "#market=";

export function addressOf(symbol) { return MARKET + encodeURIComponent(symbol); }

// That of the present address, or null.
export function openSymbol() {
  if (!location.hash.startsWith(MARKET)) return null;
  try {
    return decodeURIComponent(location.hash.slice(MARKET.length)) || null;
  } catch {
    return null; // no text at all
  }
}

export function closeMarket() {
  history.pushState(null, "", location.pathname + location.search);
  dispatchEvent(new HashChangeEvent("hashchange"));
}

// That of the present address, or null for the candle interval.
export function chosenInterval() { return new URLSearchParams(location.search).get("interval"); }

// Null for the candle interval.
export function chooseInterval(name) {
  history.pushState(null, "", location.pathname + query(name) + location.hash);
}

// There is none of that name.
export function forgetInterval() { history.replaceState(null, "", location.pathname + location.hash); }

// Where the server has this of the interval.
export function ofInterval(path) { return path + query(chosenInterval()); }

function query(name) { return name === null ? "" : `?interval=${encodeURIComponent(name)}`; }
