// Passkeys on pages: a form with `data-passkey` is sent once the browser has asked its user. What is asked comes from the
// server as the specification's JSON (in the form, or fetched when it is needed: `data-options-from`), what is answered
// goes into the field `passkey`. Everything is judged by the server; this decides nothing.
//
// A button of the form without `data-ask` sends it as it is: a code in place of a passkey.

const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (char) => char.charCodeAt(0));

function text(buffer) {
  const binary = Array.from(new Uint8Array(buffer), (byte) => String.fromCharCode(byte)).join("");
  return btoa(binary).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
}

const named = (list) => (list ?? []).map((each) => ({ ...each, id: bytes(each.id) }));

// Browsers can read and write the JSON themselves since 2024 or 2025 only.
function asked(kind, options) {
  const publicKey = { ...options, challenge: bytes(options.challenge) };
  if (kind === "create") {
    publicKey.user = { ...options.user, id: bytes(options.user.id) };
    publicKey.excludeCredentials = named(options.excludeCredentials);
  } else {
    publicKey.allowCredentials = named(options.allowCredentials);
  }
  return { publicKey };
}

function answered(credential) {
  const said = credential.response;
  const response = { clientDataJSON: text(said.clientDataJSON) };
  if (said.attestationObject) {
    response.attestationObject = text(said.attestationObject);
    response.transports = said.getTransports?.() ?? [];
  } else {
    response.authenticatorData = text(said.authenticatorData);
    response.signature = text(said.signature);
    if (said.userHandle) response.userHandle = text(said.userHandle);
  }
  return { id: credential.id, rawId: text(credential.rawId), type: credential.type, response };
}

const sentences = {
  InvalidStateError: "That one is set up for you already.",
  NotAllowedError: "Your browser did not get an answer: it was cancelled, took too long, or there is no passkey for this here.",
  NotSupportedError: "Your browser or your passkey can't do this.",
  SecurityError: "Passkeys don't work at this address.",
};

async function options(form) {
  if (form.dataset.options) return JSON.parse(form.dataset.options);
  const answer = await fetch(form.dataset.optionsFrom, { method: "POST", headers: { accept: "application/json" } });
  const told = await answer.json();
  if (!answer.ok) throw new Error(told.detail);
  form.elements.challenge_id.value = told.challenge_id;
  return told.options;
}

async function ask(form) {
  const kind = form.dataset.passkey;
  const request = asked(kind, await options(form));
  const credential = await (kind === "create" ? navigator.credentials.create(request) : navigator.credentials.get(request));
  form.elements.passkey.value = JSON.stringify(answered(credential));
}

function tell(form, message) {
  const place = form.querySelector("[data-passkey-problem]");
  place.hidden = !message;
  place.textContent = message;
}

for (const form of document.querySelectorAll("form[data-passkey]")) {
  if (!window.PublicKeyCredential) {
    for (const button of form.querySelectorAll("[data-ask]")) button.disabled = true;
    tell(form, sentences.NotSupportedError);
  }
  form.addEventListener("submit", async (event) => {
    const button = event.submitter;
    if (!button?.hasAttribute("data-ask")) return;
    event.preventDefault();
    tell(form, "");
    button.disabled = true;
    try {
      await ask(form);
      form.submit();
    } catch (error) {
      tell(form, sentences[error.name] ?? error.message ?? String(error));
    } finally {
      button.disabled = false;
    }
  });
}
