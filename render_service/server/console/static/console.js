// What pages cannot do without a script, and can do without: every page works when this is not run.
"use strict";

(() => {
  const problem = (words) => {
    const place = document.getElementById("problem");
    if (!place) return;
    const notice = document.createElement("p");
    notice.className = "notice bad";
    notice.textContent = words;
    place.replaceChildren(notice);
  };

  // On a narrow screen the menu scrolls; the page that is open is shown in it.
  // (`scrollIntoView` would also move where Tab begins.)
  const open = document.querySelector(".menu [aria-current]");
  if (open) open.parentElement.scrollLeft = open.offsetLeft - open.parentElement.clientWidth / 2;

  // A form is sent once, however often its button is pressed; coming back to the page makes it usable again.
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (!form.matches("form[data-once]")) return;
    if (form.classList.contains("sent")) {
      event.preventDefault();
      return;
    }
    form.classList.add("sent");
    form.setAttribute("aria-busy", "true");
  });

  // Coming back to a form shows it under the key it was sent with: sending it again makes no second video.
  const key = document.querySelector("form[data-once] input[name=key]");
  if (key && history.state?.formKey) key.value = history.state.formKey;
  else if (key) history.replaceState({ ...history.state, formKey: key.value }, "");

  window.addEventListener("pageshow", () => {
    for (const form of document.querySelectorAll("form.sent")) {
      form.classList.remove("sent");
      form.removeAttribute("aria-busy");
    }
    // The browser brings back what was typed in a form, and the decision follows it.
    const prompt = document.querySelector("form[hx-post] textarea[name=prompt]");
    const came = performance.getEntriesByType("navigation")[0]?.type;
    if (prompt?.value && came !== "navigate") prompt.dispatchEvent(new Event("input", { bubbles: true }));
  });

  // A part of a page that could not be loaded says so; the rest of the page stays.
  const said = (xhr) => {
    const kind = xhr.getResponseHeader("content-type") || "";
    if (kind.startsWith("application/json")) {
      try { return JSON.parse(xhr.responseText).error; } catch { return null; }
    }
    if (!kind.startsWith("text/html")) return null;
    const notice = new DOMParser().parseFromString(xhr.responseText, "text/html").querySelector(".notice.bad");
    return notice && notice.textContent;
  };
  document.addEventListener("htmx:responseError", (event) => {
    problem(said(event.detail.xhr) || "This part of the page could not be loaded. Reload the page to try again.");
  });
  for (const name of ["htmx:sendError", "htmx:timeout"]) {
    document.addEventListener(name, () => {
      problem("The server does not answer. What you see may be out of date; reload the page to try again.");
    });
  }
  document.addEventListener("htmx:afterOnLoad", (event) => {
    const place = document.getElementById("problem");
    if (event.detail.successful && place) place.replaceChildren();
  });

  // A video without a thumbnail shows its first frame, which is read once the card is near the screen.
  const frames = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      entry.target.preload = "metadata";
      frames.unobserve(entry.target);
    }
  }, { rootMargin: "200px" });
  const watchFrames = () => {
    for (const video of document.querySelectorAll("video[data-first-frame]")) frames.observe(video);
  };
  watchFrames();
  document.addEventListener("htmx:afterSettle", watchFrames);

  // A slider moves the number that its form sends, and follows it.
  for (const slider of document.querySelectorAll("input[type=range][data-moves]")) {
    const field = document.getElementById(slider.dataset.moves);
    for (const each of [slider, ...slider.labels]) each.hidden = false;
    slider.addEventListener("input", () => {
      field.value = slider.value;
      field.dispatchEvent(new Event("input", { bubbles: true }));
    });
    field.addEventListener("input", () => { slider.value = field.value; });
  }

  // A secret that is shown once is selected and can be copied.
  for (const field of document.querySelectorAll("[data-select]")) {
    field.addEventListener("focus", () => field.select());
  }
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    const field = document.getElementById(button.dataset.copy);
    const text = "value" in field ? field.value : field.textContent;
    const state = document.getElementById("copied");
    try {
      await navigator.clipboard.writeText(text);
      if (state) state.textContent = "Copied.";
    } catch {
      if (field.select) field.select();
      if (state) state.textContent = "Press Ctrl+C to copy.";
    }
  });

  // The link of `sora-ledger console` has a ticket after the #: it is removed from the address and posted.
  const form = document.getElementById("ticket");
  if (form && location.hash.startsWith("#ticket=")) {
    form.elements.ticket.value = location.hash.slice("#ticket=".length);
    history.replaceState(null, "", location.pathname);
    form.submit();
  }
})();
