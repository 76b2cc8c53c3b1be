// Passkeys: sign an answer, or make a passkey. Both ask the browser; without this script answers are not signed.
"use strict";

(() => {
  const toBytes = (text) => {
    const plain = atob(text.replace(/-/g, "+").replace(/_/g, "/"));
    return Uint8Array.from(plain, (letter) => letter.charCodeAt(0));
  };
  const toText = (buffer) => {
    const letters = Array.from(new Uint8Array(buffer), (byte) => String.fromCharCode(byte)).join("");
    return btoa(letters).replace(/\+/g, "-").replace(/\//g, "_");
  };
  const unpadded = (buffer) => toText(buffer).replace(/=+$/, "");
  const words = (error) =>
    error && error.name === "NotAllowedError"
      ? "The passkey did not sign: it was cancelled, or your passkey is not on this device."
      : `The passkey could not be used: ${error && error.message ? error.message : "the browser does not say why"}.`;
  if (!window.PublicKeyCredential || !navigator.credentials) return;

  const sign = async (form, place, verdict) => {
    const credential = await navigator.credentials.get({
      publicKey: {
        challenge: toBytes(place.dataset[verdict]),
        rpId: place.dataset.rp,
        allowCredentials: place.dataset.credentials.split(" ").map((id) => ({ type: "public-key", id: toBytes(id) })),
        userVerification: "required",
      },
    });
    form.elements.credential_id.value = toText(credential.rawId);
    form.elements.signature.value = toText(credential.response.signature);
    form.elements.authenticator_data.value = toText(credential.response.authenticatorData);
    form.elements.client_data.value = toText(credential.response.clientDataJSON);
    const chosen = document.createElement("input");
    chosen.type = "hidden";
    chosen.name = "verdict";
    chosen.value = verdict;
    form.append(chosen);
    form.requestSubmit();
  };

  for (const place of document.querySelectorAll("[data-passkey]")) {
    const form = place.closest("form");
    const state = form.querySelector("[data-passkey-state]");
    place.hidden = false;
    state.textContent = "";
    place.addEventListener("click", async (event) => {
      const button = event.target.closest("[data-verdict]");
      if (!button || place.getAttribute("aria-busy") || !form.reportValidity()) return;
      place.setAttribute("aria-busy", "true");
      state.textContent = "Confirm with your passkey.";
      try {
        await sign(form, place, button.dataset.verdict);
        state.textContent = "";
      } catch (error) {
        state.textContent = words(error);
      }
      place.removeAttribute("aria-busy");
    });
  }

  const making = document.querySelector("form[data-options]");
  if (!making) return;
  const button = making.querySelector("button");
  const said = document.getElementById("passkey-state");
  button.disabled = false;
  making.addEventListener("submit", async (event) => {
    if (making.elements.credential.value) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    said.textContent = "Confirm in the window of your browser.";
    const options = JSON.parse(making.dataset.options);
    options.challenge = toBytes(options.challenge);
    options.user.id = toBytes(options.user.id);
    for (const known of options.excludeCredentials || []) known.id = toBytes(known.id);
    try {
      const made = await navigator.credentials.create({ publicKey: options });
      making.elements.credential.value = JSON.stringify({
        id: made.id,
        rawId: unpadded(made.rawId),
        type: made.type,
        response: {
          clientDataJSON: unpadded(made.response.clientDataJSON),
          attestationObject: unpadded(made.response.attestationObject),
        },
      });
      making.requestSubmit();
    } catch (error) {
      said.textContent = words(error);
    }
  }, true);
})();
