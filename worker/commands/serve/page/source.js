// The events of the server, for as long as the page is open: it connects again whenever they end.

const SILENT_MS = 15e3, AGAIN_MS = 5e3;

// `hear(name, data)` is called for each event, `connected(isSo)` when the connection comes or goes.
export function listen(hear, connected) {
  let events = null, silence = 0, again = 0;

  function connect() {
    clearTimeout(again);
    events?.close();
    events = new EventSource("events");
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
      if (events.readyState === EventSource.CLOSED) later();
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

  connect();
}
