/* Content credentials (C2PA), read and validated in this browser by the C2PA project's own reader, the worker and the
 * WebAssembly module of @contentauth/c2pa-web. Loaded only when a film or a picture is checked: 8 MB, 3 MB packed.
 *
 * Nothing is uploaded, and nothing is fetched but the reader's own files from this server. The browser compares the
 * module with the digest that its authors published.
 */

const TYPES = new Map([
  ["mp4", "video/mp4"], ["m4v", "video/mp4"], ["mov", "video/quicktime"],
  ["jpg", "image/jpeg"], ["jpeg", "image/jpeg"], ["png", "image/png"], ["webp", "image/webp"],
]);
const LABEL = "org.sora-ledger.record";
const FORMAT = "sora-ledger/provenance/v1";
const MADE_BY_AI = /\/digitalsourcetype\/([A-Za-z]{1,64})$/;
const UNTRUSTED = "signingCredential.untrusted";
const ONE_GIGABYTE = 10 ** 9;
const CHANGED = new Map([
  ["assertion.bmffHash.mismatch", "pictures, sound or other content differ from what was signed"],
  ["assertion.dataHash.mismatch", "the content differs from what was signed"],
  ["assertion.hashedURI.mismatch", "a statement in the manifest differs from what was signed"],
  ["claimSignature.mismatch", "the signed claim was changed after it was signed"],
  ["signingCredential.expired", "the certificate had expired when this was signed"],
  ["signingCredential.invalid", "the certificate may not sign content"],
]);

const SETTINGS = { verify: { verify_trust: true, remote_manifest_fetch: false, ocsp_fetch: false }, builder: { generate_c2pa_archive: true } };
const NO_MANIFEST = /JumbfNotFound/;
const CHANNEL = "default";
/* The digest of dist/resources/c2pa_bg.wasm that the package itself demands. */
const PUBLISHED = "sha512-NsX4t/kdoAAEqcVRXG5oYJKSHNKo+sgsxrb9Y4vJnpMhgkMP7hoAa8G1draflgtUXI7hjMDd9dPNkKVfUynv+A==";

/** What is in the file is no manifest that can be read. */
class Damaged extends Error {}

let reader = null;

/** Return the media type of a film or a picture by its name; null for other files. */
export function mediaType(name) {
  return TYPES.get(name.toLowerCase().split(".").pop()) ?? null;
}

/** Start the reader in a worker of its own; `call` has it do something, by the messages that its library sends. */
async function start(addresses) {
  const answer = await fetch(addresses.wasm, { integrity: PUBLISHED });
  const wasm = await WebAssembly.compileStreaming(answer);
  const worker = new Worker(addresses.worker, { type: "module", name: "c2pa" });
  const waiting = new Map();
  let last = 0;
  const fail = (event) => {
    for (const { reject } of waiting.values()) reject(new Error(event.message ?? "the reader ended"));
    waiting.clear();
  };
  worker.addEventListener("error", fail);
  worker.addEventListener("message", ({ data }) => {
    if (data.channelName !== CHANNEL || !waiting.has(data.id)) return;
    const { resolve, reject } = waiting.get(data.id);
    waiting.delete(data.id);
    if (data.error) reject(data.error);
    else resolve(data.result);
  });
  const call = (method, ...args) =>
    new Promise((resolve, reject) => {
      const id = String((last += 1));
      waiting.set(id, { resolve, reject });
      worker.postMessage({ method, args, id, channelName: CHANNEL });
    });
  await call("initWorker", wasm, JSON.stringify(SETTINGS));
  return call;
}

/** Return everything that the reader says about a file; null if it has no content credentials. */
async function storeOf(file, type, trust, addresses) {
  reader ??= start(addresses);
  let call;
  try {
    call = await reader;
  } catch (error) {
    reader = null; // the next file tries again
    throw error;
  }
  let found;
  try {
    const settings = trust ? { ...SETTINGS, trust: { trust_anchors: trust } } : SETTINGS;
    found = await call("reader_fromBlob", type, file, JSON.stringify(settings));
  } catch (error) {
    if (NO_MANIFEST.test(error.message)) return null;
    throw new Damaged(String(error.message));
  }
  try {
    return JSON.parse(await call("reader_json", found));
  } finally {
    await call("reader_free", found);
  }
}

function* failuresOf(store) {
  const results = store.validation_results ?? {};
  yield* results.activeManifest?.failure ?? [];
  for (const one of results.ingredientDeltas ?? []) yield* one.validationDeltas?.failure ?? [];
}

function sourceTypeOf(manifest) {
  for (const assertion of manifest.assertions ?? []) {
    if (!String(assertion.label).startsWith("c2pa.actions")) continue;
    for (const action of assertion.data?.actions ?? []) {
      const found = MADE_BY_AI.exec(String(action.digitalSourceType ?? ""));
      if (found) return found[1];
    }
  }
  return null;
}

/** Check the content credentials of a film or a picture; return an outcome like those of verify.js.
 *
 * `trust` has the certificates (PEM) of signers and time-stamping authorities that the person trusts, or is empty;
 * `keys` are the public keys by which the person knows ledgers.
 */
export async function checkOrigin(file, { verify, trust, keys, addresses }) {
  const outcome = { kind: "film or picture", title: verify.shown(file.name), findings: [], moreFindings: 0, shows: [], showsNot: [], vouchedFor: false };
  const wrong = (code, expected, found) => outcome.findings.push({ code, position: null, subject: "manifest", expected, found });
  if (file.size > ONE_GIGABYTE) throw new Error("more than 1 GB: `sora-ledger verify-provenance FILE` and c2patool read such files");
  let store;
  try {
    store = await storeOf(file, mediaType(file.name), trust, addresses);
  } catch (error) {
    if (!(error instanceof Damaged)) throw error;
    wrong("manifest.unreadable", "a C2PA manifest", verify.shown(String(error.message ?? error)).slice(0, 200));
    return finish(outcome);
  }
  if (store === null) {
    outcome.verdict = "No content credentials. They may have been removed: their absence proves nothing.";
    outcome.showsNot.push("Where it is from, or whether it was made by AI.");
    return outcome;
  }
  const manifest = store.manifests?.[store.active_manifest] ?? {};
  const codes = [...failuresOf(store)].map((one) => String(one.code));
  for (const code of codes) {
    if (code !== UNTRUSTED) wrong(code, "as it was signed", CHANGED.get(code) ?? "it does not validate");
  }
  if (!["Valid", "Trusted"].includes(store.validation_state) && !outcome.findings.length) wrong("manifest", "valid", String(store.validation_state));
  if (!outcome.findings.length) {
    describe(outcome, store, manifest, trust, verify);
    await followRecord(outcome, manifest, keys, verify);
  }
  return finish(outcome);
}

function describe(outcome, store, manifest, trust, verify) {
  const signature = manifest.signature_info ?? {};
  const signer = verify.shown(signature.common_name ?? "a certificate without a name");
  const passed = new Set((store.validation_results?.activeManifest?.success ?? []).map((one) => one.code));
  outcome.shows.push(`The content is as ${signer} signed it (${verify.shown(signature.alg ?? "")}), issued by ${verify.shown(signature.issuer ?? "nobody named")}.`);
  outcome.vouchedFor = store.validation_state === "Trusted";
  if (outcome.vouchedFor) outcome.shows.push("You trust the authority of this certificate.");
  else outcome.showsNot.push(trust ? "That you trust the signer: your certificates do not vouch for it." : "Who the signer is: name the certificates that you trust.");
  if (passed.has("timeStamp.validated")) {
    const by = passed.has("timeStamp.trusted") ? "an authority that you trust" : "an authority that you have not named";
    outcome.shows.push(`It was signed at ${verify.shown(signature.time)}, says ${by}.`);
  } else outcome.showsNot.push("When it was signed.");
  const source = sourceTypeOf(manifest);
  if (source) outcome.shows.push(`The signer says how it was made: ${verify.shown(source)}.`);
  for (const one of manifest.ingredients ?? []) outcome.shows.push(`The signer says what it was made from: ${verify.shown(one.title ?? "a file")} (${verify.shown(one.relationship)}).`);
}

/** Check the proof in our assertion, if there is one: the record that it names is in the tree of a checkpoint. */
async function followRecord(outcome, manifest, keys, verify) {
  const claim = (manifest.assertions ?? []).find((one) => one.label === LABEL)?.data;
  if (!claim) {
    outcome.showsNot.push("A record in a ledger: the manifest names none.");
    return;
  }
  if (claim.format !== FORMAT || !Number.isSafeInteger(claim.position) || claim.position < 1 || !/^[0-9a-f]{64}$/.test(claim.leaf)) {
    outcome.findings.push({ code: LABEL, position: null, subject: "assertion", expected: FORMAT, found: verify.shown(String(claim.format)) });
    return;
  }
  const named = `record ${claim.position} of ${verify.shown(claim.origin)}, ${verify.shown(claim.job)}`;
  outcome.shows.push(`It names ${named}, leaf ${claim.leaf}.`);
  if (typeof claim.proof !== "string") {
    outcome.showsNot.push("That this record exists: the manifest has no proof of it. The ledger has to show it.");
    return;
  }
  try {
    const proof = verify.readProof(new TextEncoder().encode(claim.proof));
    const { checkpoint } = proof;
    const root = await verify.rootOfPath(verify.fromHex(claim.leaf), proof.index, checkpoint.size, proof.path);
    if (BigInt(proof.index) !== BigInt(claim.position) - 1n || checkpoint.origin !== claim.origin || verify.toHex(root) !== verify.toHex(checkpoint.root)) {
      throw new verify.Invalid("it is not of this record");
    }
    const signers = await verify.signersOf(checkpoint, keys);
    outcome.shows.push(`The record is among the first ${checkpoint.size} of this ledger, by a proof in the manifest.`);
    if (signers.length) outcome.shows.push(`The checkpoint is signed by ${signers.map(verify.shown).join(", ")}.`);
    else outcome.showsNot.push("Who signed the checkpoint in the manifest: name the key by which you know the ledger.");
  } catch (error) {
    outcome.findings.push({ code: LABEL, position: claim.position, subject: "proof", expected: "a proof of the record", found: verify.shown(String(error.message ?? error)) });
  }
}

function finish(outcome) {
  outcome.verdict = outcome.findings.length
    ? "Do not rely on it."
    : outcome.vouchedFor
      ? "The content credentials are valid, and by a signer whom you trust."
      : "The content credentials are valid. Anyone can sign: trust it as far as you trust the signer.";
  return outcome;
}
