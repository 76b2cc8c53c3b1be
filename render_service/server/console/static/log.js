// The log while it is open: new records come in at its top, and can be paused.
"use strict";

(() => {
  const MOST_ROWS = 500;
  const rows = document.getElementById("rows");
  const said = document.getElementById("live");
  const pause = document.getElementById("pause");
  let isPaused = false;
  let source = null;
  let last = null;

  // A connection that ended is opened anew from the last record that came, not from when the page was loaded.
  htmx.createEventSource = (address) => {
    const from = new URL(address, location.href);
    if (last !== null) from.searchParams.set("after", last);
    source = new EventSource(from, { withCredentials: true });
    return source;
  };
  const say = (words) => {
    if (said.textContent !== words) said.textContent = words;
  };
  document.addEventListener("htmx:sseOpen", () => {
    if (!isPaused) say("Live: new records appear here.");
    pause.hidden = false;
  });
  document.addEventListener("htmx:sseError", () => {
    if (!isPaused) say("Not live: connecting again.");
  });
  document.addEventListener("htmx:sseBeforeMessage", (event) => {
    last = event.detail.lastEventId || last;
    document.getElementById("none")?.remove();
    for (const [, id] of event.detail.data.matchAll(/<tr id="(r[0-9]+)"/g)) document.getElementById(id)?.remove();
  });
  document.addEventListener("htmx:sseMessage", () => {
    while (rows.children.length > MOST_ROWS) rows.lastElementChild.remove();
  });

  // While it is paused, the page stays as it is; afterwards the newer records follow.
  pause.addEventListener("click", () => {
    isPaused = !isPaused;
    pause.textContent = isPaused ? "Continue" : "Pause";
    if (isPaused) {
      source?.close();
      say("Paused.");
    } else {
      location.reload();
    }
  });
})();
