// The address of an open market: the part of the page's address after `#`.

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
