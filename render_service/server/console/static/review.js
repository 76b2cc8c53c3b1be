// Review with the keyboard. Without this script the page has the same form, the player's own keys, and links to moments.
"use strict";

(() => {
  const FRAME_S = 1 / 24;
  const OFF = "sora-ledger-review-keys-off";
  const player = document.getElementById("player");
  const form = document.querySelector("form.judge");
  const rows = document.getElementById("moments");
  const keys = document.getElementById("keys");
  const switched = document.getElementById("keys-on");
  const add = document.getElementById("add-note");
  if (!keys) return;

  const stored = (value) => {
    try {
      if (value === undefined) return localStorage.getItem(OFF);
      if (value === null) localStorage.removeItem(OFF);
      else localStorage.setItem(OFF, value);
    } catch { /* a browser that keeps nothing has the keys on */ }
    return null;
  };
  switched.checked = stored() === null;
  switched.addEventListener("change", () => stored(switched.checked ? null : "yes"));

  const seek = (seconds) => {
    if (!player) return;
    const end = Number.isFinite(player.duration) ? player.duration : Infinity;
    player.currentTime = Math.min(Math.max(0, seconds), end);
  };
  const toggle = () => {
    if (!player) return;
    if (player.paused) player.play().catch(() => {});
    else player.pause();
  };

  // The first row without a time and a text, or a new one, gets the time that the player shows.
  const noteNow = () => {
    if (!rows) return;
    if (player) player.pause();
    const all = [...rows.querySelectorAll(".note-row")];
    let row = all.find((each) => [...each.querySelectorAll("input")].every((input) => !input.value));
    if (!row) {
      row = all[all.length - 1].cloneNode(true);
      for (const input of row.querySelectorAll("input")) {
        input.value = "";
        input.setAttribute("aria-label", input.getAttribute("aria-label").replace(/\d+$/, String(all.length + 1)));
      }
      all[all.length - 1].after(row);
    }
    row.querySelector("[name=at]").value = (player ? player.currentTime : 0).toFixed(2).replace(/\.?0+$/, "");
    row.querySelector("[name=note]").focus();
  };
  if (add) {
    add.hidden = false;
    add.addEventListener("click", noteNow);
  }

  document.addEventListener("click", (event) => {
    const link = event.target.closest("a.moment");
    if (!link || !player) return;
    event.preventDefault();
    player.pause();
    seek(Number(link.dataset.at) / 1000);
    player.focus();
  });

  const follow = (id) => {
    const link = document.getElementById(id);
    if (link) link.click();
  };
  const choose = (key) => {
    const choice = form && form.querySelector(`[name=verdict][data-key="${key}"]`);
    if (!choice) return;
    choice.checked = true;
    choice.focus();
  };
  const acts = {
    " ": toggle,
    k: toggle,
    ArrowLeft: () => player && seek(player.currentTime - 1),
    ArrowRight: () => player && seek(player.currentTime + 1),
    ",": () => player && seek(player.currentTime - FRAME_S),
    ".": () => player && seek(player.currentTime + FRAME_S),
    1: () => choose("1"),
    2: () => choose("2"),
    3: () => choose("3"),
    n: noteNow,
    w: () => form && form.elements.notes.focus(),
    "[": () => follow("newer"),
    "]": () => follow("older"),
  };
  const isTyped = (place) => place.matches("textarea, select, input:not([type=radio], [type=checkbox])");
  const hasOwnKeys = (place, key) =>
    (key === " " && place.matches("button, a, summary, input, video")) ||
    (key.startsWith("Arrow") && place.matches("input, video, [tabindex='0']"));

  document.addEventListener("keydown", (event) => {
    const place = event.target;
    if (event.isComposing) return;
    if (event.key === "Enter" && event.ctrlKey && form) {
      event.preventDefault();
      form.requestSubmit();
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape" && isTyped(place)) {
      place.blur();
      return;
    }
    if (isTyped(place)) return;
    if (event.key === "?") {
      event.preventDefault();
      keys.open = !keys.open;
      if (keys.open) keys.querySelector("summary").focus();
      return;
    }
    const act = acts[event.key];
    if (!switched.checked || !act || hasOwnKeys(place, event.key)) return;
    event.preventDefault();
    act();
  });
})();
