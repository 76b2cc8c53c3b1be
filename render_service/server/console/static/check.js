/* The pages that check something in the browser: one record, and files. What checks is verify.js. */

const place = document.getElementById("check");
const verify = await import(place.dataset.verify);
const STORE = "sora-ledger/known";
const MOST_FINDINGS = 100;

// --- what this browser remembers: keys, a checkpoint that the person pinned, and the last one that was seen ---

function recall() {
  try {
    const kept = JSON.parse(localStorage.getItem(STORE)) ?? {};
    return { keys: kept.keys ?? [], pinned: kept.pinned ?? null, seen: kept.seen ?? null };
  } catch {
    return { keys: [], pinned: null, seen: null };
  }
}

function remember(changes) {
  const known = { ...recall(), ...changes };
  try {
    localStorage.setItem(STORE, JSON.stringify(known));
  } catch {
    // a browser that keeps nothing checks as well
  }
  return known;
}

function heldCheckpoints(known) {
  const texts = [known.pinned, known.seen].filter((text) => typeof text === "string");
  return texts.map((text) => verify.readCheckpoint(new TextEncoder().encode(text)));
}

async function readKeys(lines) {
  return Promise.all(lines.map((line) => verify.readKey(line)));
}

// --- parts of a page ---

function element(name, words = "", kind = "") {
  const made = document.createElement(name);
  made.textContent = words;
  if (kind) made.className = kind;
  return made;
}

function button(words, act) {
  const made = element("button", words);
  made.type = "button";
  made.addEventListener("click", act);
  return made;
}

const MARKS = new Map([[true, ["good", "Right"]], [false, ["bad", "Wrong"]], [null, ["attention", "Not checked"]]]);

function showStep(list, step) {
  const [kind, words] = MARKS.get(step.ok);
  const item = element("li", "", kind);
  item.append(element("span", `${words}: ${step.name}`, "what"), document.createElement("br"), element("span", step.detail));
  list.append(item);
}

// --- one record ---

/** Return text as a page shows it, so that two ways of showing odd letters compare equal. */
function plain(text) {
  return text.replace(/[^\n -~]/gu, "\ufffd");
}

function isShown(id, encoded) {
  const bytes = Uint8Array.from(atob(encoded), (letter) => letter.charCodeAt(0));
  return plain(document.getElementById(id).textContent) === plain(new TextDecoder().decode(bytes));
}

async function fetchEvidence(held) {
  const address = new URL(`${location.pathname}.json`, location.href);
  for (const checkpoint of held) address.searchParams.append("extends", checkpoint.size);
  const answer = await fetch(address, { headers: { accept: "application/json" } });
  if (!answer.ok) throw new verify.Unreadable(`the server answered ${answer.status}: reload the page to sign in again`);
  return answer.json();
}

async function checkRecord() {
  const [steps, verdict] = [document.getElementById("steps"), document.getElementById("verdict")];
  const position = Number(place.dataset.position);
  steps.replaceChildren();
  verdict.hidden = true;
  const results = [];
  const show = (step) => {
    results.push(step);
    showStep(steps, step);
  };
  try {
    const known = recall();
    const held = heldCheckpoints(known);
    const evidence = await fetchEvidence(held);
    for await (const step of verify.checkRecord(position, evidence, { keys: await readKeys(known.keys), held })) show(step);
    const same = isShown("record-bytes", evidence.record) && isShown("payload-bytes", evidence.payload);
    const detail = same ? "this page shows the bytes that were checked" : "this page shows other bytes than were checked";
    show({ name: "Page", ok: same, detail });
    if (results.every((step) => step.ok !== false)) rememberSeen(evidence.checkpoint, held);
  } catch (error) {
    show({ name: "Check", ok: false, detail: verify.shown(error) });
  }
  showVerdict(verdict, results);
}

/** Remember the newest checkpoint that was checked, so that the next check shows whether the ledger extends it. */
function rememberSeen(text, held) {
  const found = verify.readCheckpoint(new TextEncoder().encode(text));
  if (held.every((old) => old.size <= found.size)) remember({ seen: text });
}

function showVerdict(verdict, results) {
  const wrong = results.filter((step) => step.ok === false).length;
  const open = results.filter((step) => step.ok === null).length;
  verdict.hidden = false;
  verdict.className = `notice ${wrong ? "bad" : "good"}`;
  if (wrong) verdict.textContent = `Do not rely on this record: ${wrong} of ${results.length} checks failed.`;
  else if (open) verdict.textContent = `Nothing is wrong with this record; ${open} of ${results.length} checks were not possible.`;
  else verdict.textContent = `Nothing is wrong with this record: all ${results.length} checks are right.`;
}

// --- files ---

function list(title, texts, kind) {
  const part = document.createDocumentFragment();
  if (!texts.length) return part;
  const items = element("ul", "", kind);
  for (const text of texts) items.append(element("li", text));
  part.append(element("h3", title), items);
  return part;
}

function showOutcome(name, outcome) {
  const card = element("section", "", "card result");
  const kind = outcome.findings.length ? "bad" : outcome.vouchedFor ? "good" : "attention";
  card.append(element("h2", verify.shown(name)), element("p", `${outcome.kind[0].toUpperCase()}${outcome.kind.slice(1)} of ${outcome.title}`));
  card.append(element("p", outcome.verdict, `notice ${kind}`));
  const wrong = outcome.findings.slice(0, MOST_FINDINGS).map((item) => {
    const where = item.position === null ? "" : ` at position ${item.position}`;
    return `${item.code}${where}, ${item.subject}: expected ${item.expected}, found ${item.found}`;
  });
  const more = outcome.findings.length + outcome.moreFindings - wrong.length;
  card.append(list("What is wrong", more ? [...wrong, `and ${more} more`] : wrong, "wrong"));
  card.append(list("What this shows", outcome.shows, "shows"), list("What this does not show", outcome.showsNot, "shows-not"));
  if (outcome.kind === "checkpoint" && !outcome.findings.length) {
    card.append(button("Remember this checkpoint", () => showKnown(remember({ pinned: outcome.checkpoint.whole }))));
  }
  return card;
}

function showUnreadable(name, error) {
  const card = element("section", "", "card result");
  card.append(element("h2", verify.shown(name)));
  card.append(element("p", `This file cannot be checked: ${verify.shown(error)}`, "notice bad"));
  return card;
}

function typedKeys() {
  return document.getElementById("keys").value.split("\n").map((line) => line.trim()).filter(Boolean);
}

/** Return what the person typed, by which it is told whether files have to be checked again. */
function typed() {
  return ["keys", "policy", "trust"].map((id) => document.getElementById(id).value.trim()).join("\n\n");
}

const FILMS = /\.(mp4|m4v|mov|jpe?g|png|webp)$/i;

/** Check one file: evidence by verify.js, a film or a picture by the reader of the C2PA project. */
async function outcomeOf(file, { keys, known, policy, notes }) {
  if (file.name.toLowerCase().endsWith(".tsr")) return verify.checkTimestamp(file, notes);
  if (!FILMS.test(file.name)) return verify.checkFile(file, { keys, known, policy });
  const { checkOrigin } = await import(place.dataset.origin);
  const trust = document.getElementById("trust").value.trim();
  return checkOrigin(file, { verify, trust, keys, addresses: place.dataset });
}

let checkedWith = null;

/** Check files, and then show all results at once: what a person is about to press does not move away before. */
async function checkFiles(files) {
  const problem = document.getElementById("problem-file");
  problem.textContent = "";
  let keys;
  let policy = null;
  checkedWith = typed();
  try {
    keys = await readKeys(typedKeys());
  } catch (error) {
    problem.textContent = `A public key cannot be read: ${verify.shown(error)}`;
    return;
  }
  const policyText = document.getElementById("policy").value;
  try {
    if (policyText.trim()) policy = await verify.readPolicy(policyText);
  } catch (error) {
    problem.textContent = `The policy of witnesses cannot be read: ${verify.shown(error)}`;
    return;
  }
  const added = await checkpointsAmong(files);
  const notes = added.map((one) => new TextEncoder().encode(one.whole));
  const known = [...added, ...heldCheckpoints(recall())];
  const cards = [];
  for (const file of files) {
    try {
      cards.push(showOutcome(file.name, await outcomeOf(file, { keys, known, policy, notes })));
    } catch (error) {
      cards.push(showUnreadable(file.name, error));
    }
  }
  document.getElementById("results").replaceChildren(...cards);
}

async function checkpointsAmong(files) {
  const found = [];
  for (const file of files) {
    try {
      if (file.size <= 1_000_000) found.push(verify.readCheckpoint(new Uint8Array(await file.arrayBuffer())));
    } catch {
      // another kind of file
    }
  }
  return found;
}

function showKnown(known) {
  const shown = document.getElementById("known");
  shown.replaceChildren();
  for (const key of known.keys) shown.append(element("p", `Remembers the key ${verify.shown(key)}`));
  const [pinned, seen] = [known.pinned, known.seen].map((text) => text && verify.readCheckpoint(new TextEncoder().encode(text)));
  const named = (one) => `${verify.shown(one.origin)} at ${one.size} records`;
  if (pinned) shown.append(element("p", `Remembers your checkpoint of ${named(pinned)}`));
  if (seen) shown.append(element("p", `Remembers the last checked state of ${named(seen)}`));
  if (!known.keys.length && !pinned && !seen) return;
  shown.append(button("Forget all of it", () => showKnown(remember({ keys: [], pinned: null, seen: null }))));
}

function beginFiles() {
  const [drop, files, keys] = ["drop", "files", "keys"].map((id) => document.getElementById(id));
  const known = recall();
  keys.value = known.keys.join("\n");
  showKnown(known);
  files.addEventListener("change", () => checkFiles([...files.files]));
  for (const id of ["keys", "policy", "trust"]) {
    document.getElementById(id).addEventListener("change", () => {
      if (files.files.length && typed() !== checkedWith) checkFiles([...files.files]);
    });
  }
  for (const name of ["dragenter", "dragover"]) {
    drop.addEventListener(name, (event) => {
      event.preventDefault();
      drop.classList.add("over");
    });
  }
  for (const name of ["dragleave", "drop"]) drop.addEventListener(name, () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    files.files = event.dataTransfer.files;
    checkFiles([...files.files]);
  });
  const rememberKeys = document.getElementById("remember-keys");
  rememberKeys.hidden = false;
  rememberKeys.addEventListener("click", async () => {
    const problem = document.getElementById("problem-file");
    problem.textContent = "";
    try {
      await readKeys(typedKeys());
      showKnown(remember({ keys: typedKeys() }));
    } catch (error) {
      problem.textContent = `A public key cannot be read: ${verify.shown(error)}`;
    }
  });
}

const OF_THIS_SERVER = /^#\/console\/videos\/[\w/.-]+$/;
const SUFFIXES = new Map([["video/mp4", "mp4"], ["video/quicktime", "mov"], ["image/webp", "webp"], ["image/jpeg", "jpg"], ["image/png", "png"]]);

/** Check the file of a video page that led here; it is downloaded from this server. */
async function checkNamed(address) {
  const answer = await fetch(address);
  const type = answer.headers.get("content-type")?.split(";")[0] ?? "";
  const name = address.split("/").slice(-2).join("-");
  if (answer.ok && SUFFIXES.has(type)) await checkFiles([new File([await answer.blob()], `${name}.${SUFFIXES.get(type)}`, { type })]);
  else document.getElementById("problem-file").textContent = `The server did not send the file (${answer.status}): open its page again.`;
}

const start = document.getElementById("check-record");
if (start) {
  start.hidden = false;
  start.addEventListener("click", checkRecord);
} else {
  beginFiles();
  if (OF_THIS_SERVER.test(location.hash)) await checkNamed(location.hash.slice(1));
}
place.dataset.ready = "yes";
