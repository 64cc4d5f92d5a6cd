// The events of the server, for as long as the page is open: it connects again whenever they end.

import { chosenInterval, forgetInterval, ofInterval } from "./address.js";

const SILENT_MS = 15e3, AGAIN_MS = 5e3;

// `hear(name, data)` is called for each event, `connected(isSo)` when the connection comes or goes.
// Returns what follows the page's address: it connects again, and says so, if that names another
// interval than the connection has.
export function listen(hear, connected) {
  let events = null, path = "", silence = 0, again = 0;

  function connect() {
    clearTimeout(again);
    events?.close();
    path = ofInterval("events");
    events = new EventSource(path);
    for (const name of ["all", "markets", "group"]) {
      events.addEventListener(name, event => {
        connected(true);
        watch();
        hear(name, JSON.parse(event.data));
      });
    }
    events.addEventListener("error", () => {
      connected(false);
      // After an answer that is no stream of events, the browser gives up.
      if (events.readyState !== EventSource.CLOSED) return;
      later();
      forgetUnknown();
    });
    watch();
  }

  // The server says something every few seconds; otherwise it hangs, or the network does.
  function watch() {
    clearTimeout(silence);
    silence = setTimeout(() => {
      connected(false);
      connect();
    }, SILENT_MS);
  }

  function later() {
    clearTimeout(again);
    again = setTimeout(connect, AGAIN_MS);
  }

  // An address may name an interval that is published no longer.
  async function forgetUnknown() {
    if (chosenInterval() === null) return;
    const asked = ofInterval("states.json");
    const reply = await fetch(asked, { method: "HEAD" }).catch(() => null);
    if (reply?.status !== 404 || asked !== ofInterval("states.json")) return;
    forgetInterval();
    connect();
  }

  function follow() {
    const isOther = path !== ofInterval("events");
    if (isOther) connect();
    return isOther;
  }

  connect();
  return follow;
}
