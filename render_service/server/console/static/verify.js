/* Check what a sora-ledger says, in the browser: records, proofs, checkpoints and bundles of evidence.

This file shares nothing with the server that serves it, and needs nothing: no other file, no network. SHA-256,
HMAC and Ed25519 are the browser's own (WebCrypto); docs/FORMAT.md describes the rest. A bundle is checked as
verify_bundle.py checks it, with the same codes for what is wrong.

A server that lies could also serve another verify.js. So compare the SHA-256 of this file with the one that your
copy of the program has, or open a saved copy; and name a key or a checkpoint that you were given another way.

To read it: `checkFiles` and `checkRecord` at the end are what the pages call, `BundleCheck.run` is the order of the
checks of a bundle. Above them are the tools, a section each: bytes and hashes, strict JSON, checkpoints, the tree,
proof files, who permitted what, the zip file.
*/

export const FORMATS = ["sora-ledger/bundle/v1", "sora-ledger/bundle/v2"];
const MAX_POLICY_BYTES = 256 << 10;
const MAX_TIMESTAMP_BYTES = 64 << 10;
const MAX_MANIFEST_STORE_BYTES = 8 << 20;
export const PROOF_VERSION = "c2sp.org/tlog-proof@v1";

const MAX_FILES = 20_000;
const MAX_MANIFEST_BYTES = 16 * 2 ** 20;
const MAX_LINE_BYTES = 4 * 2 ** 20;
const MAX_TOTAL_BYTES = 64 * 2 ** 30;
const MAX_NOTE_BYTES = 1_000_000;
const MAX_PROOF_BYTES = 1_200_000;
const MAX_HASHES = 63;
const MAX_SIGNATURES = 64;
const MAX_RATIO = 400; // of unpacked to packed bytes, for files larger than SMALL_BYTES
const SMALL_BYTES = 4 * 2 ** 20;
const MAX_DEPTH = 64;
const MAX_FINDINGS = 1_000;
const MAX_CITED = 1_000_000;
const MAX_DIGEST_BYTES = 2 ** 30; // WebCrypto takes a file in one piece

const NAME = new RegExp(
  "^(?:manifest\\.json|README\\.txt|checkpoint|verify_bundle\\.py|(?:records|payloads|proofs|bodies)\\.jsonl" +
    "|documents/[0-9a-f]{64}|(?:assets|provenance)/[0-9a-f]{64}(?:\\.[a-z0-9]{1,8})?|timestamps/[0-9a-f]{64}\\.tsr)$",
);
const ALWAYS = ["manifest.json", "checkpoint", "records.jsonl", "payloads.jsonl"];
const HEX = /^[0-9a-f]{64}$/;
const DECIMAL = /^(?:0|[1-9][0-9]{0,18})$/;
const SALT = /^(?:[0-9a-f]{2}){1,128}$/;
const RECORD_KEYS =
  "actor actor_source authority causation_id event_id kind occurred_at payload_sha256 position recorded_at " +
  "schema_version span_id stream trace_id type version";
const DOMAIN = "sora-ledger/private/v1\0";

/** The file is not what it should be as a whole, or cannot be read; the message says why. */
export class Unreadable extends Error {}

/** Bytes that are not as the format says; the message says what was found. */
export class Invalid extends Error {}

/** Part of a bundle is not as the format says, and nothing after it can be checked; becomes a finding. */
class Damaged extends Error {
  constructor(code, subject, expected, found) {
    super(`${code} ${subject}: expected ${expected}, found ${shown(found)}`);
    this.finding = { code, position: null, subject, expected, found: shown(found) };
  }
}

// --- bytes, text, hashes ---------------------------------------------------------------------------------

const strictText = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const encoder = new TextEncoder();

/** Return `value` as short text that a page can show: no control, bidirectional or invisible characters. */
export function shown(value) {
  const text = value instanceof Error ? value.message : typeof value === "object" ? printed(value) : String(value);
  const cut = [...text.slice(0, 401)];
  const short = cut.length > 200 ? cut.slice(0, 200).join("") + "…" : cut.join("");
  return short.replace(/[\p{C}\p{Z}]/gu, (letter) => (letter === " " ? letter : "\ufffd"));
}

function printed(value) {
  try {
    return JSON.stringify(value) ?? "undefined";
  } catch {
    return "a value that cannot be printed";
  }
}

export function toHex(bytes) {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export function fromHex(text) {
  return Uint8Array.from(text.match(/../g) ?? [], (pair) => parseInt(pair, 16));
}

/** Read canonical base64; `Invalid` if it is anything else. */
export function fromBase64(text) {
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(text) || text.length % 4) throw new Invalid("text that is not base64");
  const raw = atob(text);
  if (btoa(raw) !== text) throw new Invalid("base64 that is not canonical");
  return Uint8Array.from(raw, (letter) => letter.charCodeAt(0));
}

function decoded(bytes) {
  try {
    return strictText.decode(bytes);
  } catch {
    throw new Invalid("bytes that are not UTF-8 text");
  }
}

function joined(...parts) {
  const whole = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

function same(left, right) {
  return left.length === right.length && left.every((byte, at) => byte === right[at]);
}

/** Order two texts by code points, as the bytes of their UTF-8 are ordered. */
function compareText(left, right) {
  if (left === right) return 0;
  const length = Math.min(left.length, right.length);
  for (let at = 0; at < length; at += 1) {
    if (left.charCodeAt(at) !== right.charCodeAt(at)) {
      return left.codePointAt(at) < right.codePointAt(at) ? -1 : 1;
    }
  }
  return left.length < right.length ? -1 : 1;
}

function subtle() {
  const own = globalThis.crypto?.subtle;
  if (!own) {
    throw new Unreadable(
      "this browser offers no cryptography to this page: open it over HTTPS, or from the machine that serves it",
    );
  }
  return own;
}

export async function sha256(bytes) {
  return new Uint8Array(await subtle().digest("SHA-256", bytes));
}

async function hmac(salt, message) {
  const key = await subtle().importKey("raw", salt, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  return new Uint8Array(await subtle().sign("HMAC", key, message));
}

const FIELD = 2n ** 255n - 19n;

/** Say whether `signature` is that of `message` by `publicKey` (RFC 8032, section 5.1.7). */
export async function ed25519Verifies(publicKey, message, signature) {
  if (publicKey.length !== 32 || signature.length !== 64) return false;
  const encodedKey = BigInt("0x" + toHex(Uint8Array.from(publicKey).reverse()));
  const [sign, y] = [encodedKey >> 255n, encodedKey & (2n ** 255n - 1n)];
  if (y >= FIELD || (sign && (y === 1n || y === FIELD - 1n))) return false; // no point (section 5.1.3)
  let key;
  try {
    key = await subtle().importKey("raw", publicKey, "Ed25519", false, ["verify"]);
  } catch (error) {
    if (error.name === "NotSupportedError") {
      throw new Unreadable("this browser cannot check Ed25519 signatures: use a newer one, or verify_bundle.py");
    }
    return false;
  }
  return subtle().verify("Ed25519", key, signature, message);
}

/** Return the commitment to a private text at the path `field` (docs/FORMAT.md, Private text). */
export async function commitmentOf(salt, field, text) {
  return toHex(await hmac(salt, encoder.encode(`${DOMAIN}${field}\0${text}`)));
}

// --- strict JSON -----------------------------------------------------------------------------------------

/** Return one canonical JSON object; `Invalid` for bytes that are anything else. */
export function strictJson(bytes) {
  const reader = new CanonicalReader(decoded(bytes));
  if (reader.text[0] !== "{") throw new Invalid("JSON that is not an object");
  const value = reader.value(1);
  if (reader.at !== reader.text.length) throw new Invalid("more after the JSON object");
  return value;
}

const SHORT_ESCAPES = { '"': '"', "\\": "\\", b: "\b", t: "\t", n: "\n", f: "\f", r: "\r" };
const PLAIN = /[^"\\\u0000-\u001f]*/y;
const NUMBER = /-?(?:0|[1-9][0-9]*)/y;
const AFTER_NUMBER = /[.eE]/;

/** Reads only what a canonical printer prints: sorted keys, no spaces, one spelling of each text and number. */
class CanonicalReader {
  constructor(text) {
    this.text = text;
    this.at = 0;
  }

  value(depth) {
    const first = this.text[this.at];
    if (first === '"') return this.string();
    if (first === "{") return this.object(depth);
    if (first === "[") return this.list(depth);
    for (const [word, value] of [["true", true], ["false", false], ["null", null]]) {
      if (this.text.startsWith(word, this.at)) {
        this.at += word.length;
        return value;
      }
    }
    return this.integer();
  }

  object(depth) {
    this.deeper(depth);
    const made = Object.create(null);
    let previous = null;
    if (this.skip("}")) return made;
    do {
      if (this.text[this.at] !== '"') throw this.odd();
      const key = this.string();
      if (previous !== null && compareText(previous, key) >= 0) {
        throw new Invalid(`JSON that is not canonical: key ${shown(key)} is out of order, or there twice`);
      }
      previous = key;
      if (!this.skip(":")) throw this.odd();
      made[key] = this.value(depth + 1);
    } while (this.skip(","));
    if (!this.skip("}")) throw this.odd();
    return made;
  }

  list(depth) {
    this.deeper(depth);
    const made = [];
    if (this.skip("]")) return made;
    do made.push(this.value(depth + 1));
    while (this.skip(","));
    if (!this.skip("]")) throw this.odd();
    return made;
  }

  string() {
    this.at += 1;
    let made = "";
    for (;;) {
      PLAIN.lastIndex = this.at;
      const plain = PLAIN.exec(this.text)[0];
      made += plain;
      this.at += plain.length;
      if (this.skip('"')) return made;
      if (!this.skip("\\")) throw this.odd();
      const letter = this.text[this.at];
      this.at += 1;
      if (Object.hasOwn(SHORT_ESCAPES, letter ?? "")) made += SHORT_ESCAPES[letter];
      else if (letter === "u") made += this.control();
      else throw this.odd();
    }
  }

  control() {
    const digits = this.text.slice(this.at, this.at + 4);
    const letter = /^00[01][0-9a-f]$/.test(digits) ? String.fromCharCode(parseInt(digits, 16)) : null;
    if (letter === null || "\b\t\n\f\r".includes(letter)) throw this.odd();
    this.at += 4;
    return letter;
  }

  integer() {
    NUMBER.lastIndex = this.at;
    const found = NUMBER.exec(this.text)?.[0];
    if (found === undefined || found === "-0") throw this.odd();
    const value = Number(found);
    const next = this.text[this.at + found.length] ?? "";
    if (!Number.isSafeInteger(value) || AFTER_NUMBER.test(next)) {
      throw new Invalid(`a number that is not an integer within 2**53 - 1, ${shown(found.slice(0, 30))}`);
    }
    this.at += found.length;
    return value;
  }

  deeper(depth) {
    if (depth > MAX_DEPTH) throw new Invalid(`JSON nested deeper than ${MAX_DEPTH}`);
    this.at += 1;
  }

  skip(letter) {
    if (this.text[this.at] !== letter) return false;
    this.at += 1;
    return true;
  }

  odd() {
    return new Invalid(`JSON that is not canonical, at character ${this.at + 1}`);
  }
}

/** Print a value as canonical JSON. */
function canonical(value) {
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  if (isObject(value)) return `{${entriesOf(value).map(([k, v]) => `${canonical(k)}:${canonical(v)}`).join(",")}}`;
  return JSON.stringify(value); // texts with control characters: the same escapes, in lower case
}

function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Return the entries of an object in canonical order, which JavaScript does not keep for keys like "10". */
function entriesOf(object) {
  return Object.keys(object).sort(compareText).map((key) => [key, object[key]]);
}

/** Yield each object in a document with its dotted path. */
function* objectsIn(document) {
  const rest = [["", document]];
  while (rest.length) {
    const [path, value] = rest.pop();
    if (Array.isArray(value)) {
      value.forEach((item, index) => rest.push([path ? `${path}.${index}` : `${index}`, item]));
    } else if (isObject(value)) {
      yield [path, value];
      for (const [key, item] of entriesOf(value)) rest.push([path ? `${path}.${key}` : key, item]);
    }
  }
}

/** Return the private text that a payload commits to: commitment → field. */
function commitmentsIn(payload) {
  const committed = new Map();
  for (const [path, value] of objectsIn(payload)) {
    const keys = Object.keys(value);
    if (keys.length === 1 && keys[0] === "commitment") committed.set(String(value.commitment), path);
  }
  return committed;
}

// --- C2SP signed-note and tlog-checkpoint ----------------------------------------------------------------

const SPACE = /[\s\u0085\u001c-\u001f]/u;

const WITNESS_KEY = 4;

/** Read `NAME+ID+BASE64`; `Invalid` says why it is no Ed25519 key. */
export async function readKey(text) {
  const [name, id, ...rest] = String(text).trim().split("+");
  if (!name || !rest.length || SPACE.test(name)) throw new Invalid("expected a public key, NAME+ID+BASE64");
  const data = fromBase64(rest.join("+"));
  if (data.length !== 33 || (data[0] !== 1 && data[0] !== WITNESS_KEY)) {
    throw new Invalid("expected an Ed25519 key (type 1, or 4 of a witness; 32 bytes)");
  }
  const keyId = toHex((await sha256(joined(encoder.encode(`${name}\n`), data))).slice(0, 4));
  if (keyId !== id) throw new Invalid(`the id of the key is ${keyId}, not ${shown(id.slice(0, 20))}`);
  return { name, keyId, kind: data[0], publicKey: data.slice(1), text: String(text).trim() };
}

/** Read a checkpoint, signed or its lines alone; `Invalid` says what is wrong with it. */
export function readCheckpoint(bytes) {
  if (bytes.length > MAX_NOTE_BYTES) throw new Invalid(`more than ${MAX_NOTE_BYTES} bytes`);
  const whole = decoded(bytes);
  if (/[\u0000-\u0009\u000b-\u001f]/.test(whole)) throw new Invalid("control characters");
  const blank = whole.lastIndexOf("\n\n");
  const text = blank < 0 ? whole : whole.slice(0, blank + 1);
  const tail = blank < 0 ? "" : whole.slice(blank + 2);
  const lines = text.split("\n");
  if (lines.length < 4 || lines.pop() !== "" || lines.includes("")) {
    throw new Invalid("not an origin, a size and a root, a line each");
  }
  if (!DECIMAL.test(lines[1])) throw new Invalid("a size that is not a number");
  const root = fromBase64(lines[2]);
  if (root.length !== 32) throw new Invalid("a root that does not have 32 bytes");
  const signatures = blank < 0 ? [] : tail.slice(0, -1).split("\n").map(readSignature);
  if ((blank >= 0 && !tail.endsWith("\n")) || signatures.length > MAX_SIGNATURES) {
    throw new Invalid(`a last line without its end, or more than ${MAX_SIGNATURES} signatures`);
  }
  return { origin: lines[0], size: BigInt(lines[1]), root, text, signatures, whole };
}

function readSignature(line) {
  const space = line.indexOf(" ", 2);
  const name = line.slice(2, space);
  if (!line.startsWith("\u2014 ") || space < 0 || !name || name.includes("+") || SPACE.test(name)) {
    throw new Invalid("a signature line without a name and a signature");
  }
  const data = fromBase64(line.slice(space + 1));
  if (data.length < 5) throw new Invalid("a signature that is too short");
  return { name, keyId: toHex(data.slice(0, 4)), signature: data.slice(4) };
}

/** Return the names of those `keys` that signed a checkpoint; `Invalid` if one signed something else. */
export async function signersOf(checkpoint, keys) {
  const names = [];
  for (const key of keys) {
    const own = checkpoint.signatures.filter((item) => item.name === key.name && item.keyId === key.keyId);
    for (const item of own) {
      if (!(await isBy(key, encoder.encode(checkpoint.text), item.signature))) {
        throw new Invalid(`the signature of ${shown(key.name)} is of something else`);
      }
    }
    if (own.length) names.push(key.name);
  }
  return names;
}

/** Return whether `signature` is of `text`; that of a witness begins with the time, which is signed too. */
async function isBy(key, text, signature) {
  if (key.kind !== WITNESS_KEY) return ed25519Verifies(key.publicKey, text, signature);
  const seconds = BigInt(`0x${toHex(signature.slice(0, 8)) || "0"}`);
  const signed = joined(encoder.encode(`cosignature/v1\ntime ${seconds}\n`), text);
  return ed25519Verifies(key.publicKey, signed, signature.slice(8));
}

function namesOn(checkpoint) {
  return checkpoint.signatures.map((item) => shown(item.name)).join(", ");
}

// --- RFC 6962: the tree ----------------------------------------------------------------------------------

const EMPTY_ROOT = fromHex("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");

/** Return the leaf hash of one record. */
export async function leafOf(record) {
  return sha256(joined(Uint8Array.of(0), record));
}

async function parentOf(left, right) {
  return sha256(joined(Uint8Array.of(1), left, right));
}

/** Return the root that `path` leads to from leaf `index` of `size` (RFC 9162, section 2.1.3.2). */
export async function rootOfPath(leaf, index, size, path) {
  let [number, last, value] = [BigInt(index), BigInt(size) - 1n, leaf];
  if (number < 0n || number > last) throw new Invalid(`leaf ${index} is not in a tree of ${size}`);
  for (const sibling of path) {
    if (last === 0n) throw new Invalid("a path that is too long");
    if (number & 1n || number === last) {
      value = await parentOf(sibling, value);
      while (!(number & 1n) && number) [number, last] = [number >> 1n, last >> 1n];
    } else {
      value = await parentOf(value, sibling);
    }
    [number, last] = [number >> 1n, last >> 1n];
  }
  if (last) throw new Invalid("a path that is too short");
  return value;
}

/** Check that the tree of `newRoot` begins with that of `oldRoot` (RFC 9162, section 2.1.4.2); else `Invalid`. */
export async function checkConsistency(oldSize, newSize, oldRoot, newRoot, path) {
  const [from, to] = [BigInt(oldSize), BigInt(newSize)];
  if (from > to) throw new Invalid(`the old tree has ${from} records, the new one only ${to}`);
  if (from === 0n) {
    if (path.length || !same(oldRoot, EMPTY_ROOT)) throw new Invalid("size 0 has the root of an empty tree and no path");
    return;
  }
  if (from === to) {
    if (path.length || !same(oldRoot, newRoot)) throw new Invalid("the same size with two different roots");
    return;
  }
  const power = (from & (from - 1n)) === 0n;
  const hashes = power ? [oldRoot, ...path] : [...path];
  if (!hashes.length) throw new Invalid("a path that is too short");
  let [number, last] = [from - 1n, to - 1n];
  while (number & 1n) [number, last] = [number >> 1n, last >> 1n];
  let old = hashes[0];
  let now = hashes[0];
  for (const sibling of hashes.slice(1)) {
    if (last === 0n) throw new Invalid("a path that is too long");
    if (number & 1n || number === last) {
      old = await parentOf(sibling, old);
      now = await parentOf(sibling, now);
      while (!(number & 1n) && number) [number, last] = [number >> 1n, last >> 1n];
    } else {
      now = await parentOf(now, sibling);
    }
    [number, last] = [number >> 1n, last >> 1n];
  }
  if (last) throw new Invalid("a path that is too short");
  if (!same(old, oldRoot)) throw new Invalid(`the path leads to the old root ${toHex(old)}, not to ${toHex(oldRoot)}`);
  if (!same(now, newRoot)) throw new Invalid(`the path leads to the new root ${toHex(now)}, not to ${toHex(newRoot)}`);
}

/** The root over all leaves, added one after the other. */
export class WholeTree {
  constructor() {
    this.size = 0;
    this.stack = [];
  }

  async add(leaf) {
    let value = leaf;
    for (let index = this.size; index % 2; index = (index - 1) / 2) value = await parentOf(this.stack.pop(), value);
    this.stack.push(value);
    this.size += 1;
  }

  async root() {
    if (!this.stack.length) return EMPTY_ROOT;
    let value = this.stack.at(-1);
    for (const left of this.stack.slice(0, -1).reverse()) value = await parentOf(left, value);
    return value;
  }
}

// --- C2SP tlog-policy: whose cosignatures are enough -------------------------------------------------------

/** Read a policy file; `Invalid` names the line that is wrong. */
export async function readPolicy(text) {
  if (encoder.encode(text).length > MAX_POLICY_BYTES) throw new Invalid(`more than ${MAX_POLICY_BYTES} bytes`);
  const policy = { logs: [], witnesses: new Map(), groups: new Map(), quorum: null };
  for (const [index, line] of text.split("\n").entries()) {
    try {
      if (/[\u0000-\u0008\u000b-\u001f\u007f]/.test(line)) throw new Invalid("a control character");
      const words = line.split(/[ \t]/).filter(Boolean);
      if (words.length && !words[0].startsWith("#")) await policyLine(policy, words);
    } catch (error) {
      if (!(error instanceof Invalid)) throw error;
      throw new Invalid(`line ${index + 1}: ${error.message}`);
    }
  }
  if (policy.quorum === null) throw new Invalid("no line that begins with quorum");
  return policy;
}

async function policyLine(policy, words) {
  const [kind, name, third] = words;
  const isDefined = (one) => policy.witnesses.has(one) || policy.groups.has(one);
  if (kind === "quorum") {
    if (policy.quorum !== null || words.length !== 2) throw new Invalid("expected one line: quorum NAME");
    if (name !== "none" && !isDefined(name)) throw new Invalid("a quorum that no line above defines");
    policy.quorum = name;
  } else if (kind === "log" && (words.length === 2 || words.length === 3)) {
    const key = await readKey(name);
    if (key.kind === WITNESS_KEY || policy.logs.some((log) => same(log.publicKey, key.publicKey))) {
      throw new Invalid("a log's key has type 1, and a line of its own");
    }
    policy.logs.push(key);
  } else if (!name || name === "none" || isDefined(name)) {
    throw new Invalid("a line without a name, or with one that is taken");
  } else if (kind === "witness" && (words.length === 3 || words.length === 4)) {
    const key = await readKey(third);
    if (key.kind !== WITNESS_KEY || [...policy.witnesses.values()].some((one) => same(one.publicKey, key.publicKey))) {
      throw new Invalid("a witness's key has type 4, and a line of its own");
    }
    policy.witnesses.set(name, key);
  } else if (kind === "group" && words.length > 3) {
    policy.groups.set(name, readGroup(policy, third, words.slice(3), isDefined));
  } else throw new Invalid("expected log, witness, group or quorum");
}

function readGroup(policy, count, members, isDefined) {
  const taken = [...policy.groups.values()].flatMap((group) => group.members);
  if (new Set([...members, ...taken]).size !== members.length + taken.length) throw new Invalid("a member that would count twice");
  if (!members.every(isDefined)) throw new Invalid("a member that no line above defines");
  const threshold = count === "any" ? 1 : count === "all" ? members.length : /^[0-9]{1,4}$/.test(count) ? Number(count) : 0;
  if (threshold < 1 || threshold > members.length) throw new Invalid("a number of members that is not possible");
  return { threshold, members };
}

/** Return the witnesses of a policy that cosigned a checkpoint; `Invalid` if one signed something else, or no log did. */
export async function cosigners(checkpoint, policy) {
  if (policy.logs.length && !(await signersOf(checkpoint, policy.logs)).includes(checkpoint.origin)) {
    throw new Invalid("no signature by a log of the policy, under the name of its origin");
  }
  const names = [];
  for (const [name, key] of policy.witnesses) if ((await signersOf(checkpoint, [key])).length) names.push(name);
  return names;
}

/** Return whether cosignatures by the witnesses `names` are enough. */
export function isQuorum(policy, names) {
  const met = new Set(["none", ...names.filter((name) => policy.witnesses.has(name))]);
  for (const [name, { threshold, members }] of policy.groups) if (members.filter((one) => met.has(one)).length >= threshold) met.add(name);
  return met.has(policy.quorum);
}

// --- RFC 3161: what a timestamp says, without checking who says it ------------------------------------------

const TST_INFO = "060b2a864886f70d0109100104";
const SHA_256 = "0609608648016503040201";

/** Read what a timestamp response (DER) says: the digest it is of, and the time; `Invalid` if it is none. */
export function readTimestamp(bytes) {
  const [status, content] = derParts(derInside(bytes, 0x30));
  if (!["020100", "020101"].includes(toHex(derParts(derInside(status, 0x30))[0] ?? new Uint8Array(0)))) throw new Invalid("a timestamp that was not granted");
  const signed = derParts(derInside(derInside(derParts(derInside(content, 0x30))[1], 0xa0), 0x30));
  const [kind, wrapped] = derParts(derInside(signed[2], 0x30));
  const info = derParts(derInside(derInside(derInside(wrapped, 0xa0), 0x04), 0x30));
  const [algorithm, digest] = derParts(derInside(info[2], 0x30));
  const stated = String.fromCharCode(...derInside(info[4], 0x18));
  if (toHex(kind) !== TST_INFO || !toHex(derInside(algorithm, 0x30)).startsWith(SHA_256)) throw new Invalid("no timestamp of a SHA-256 digest");
  const when = /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(?:\.\d{1,9})?Z$/.exec(stated);
  if (!when) throw new Invalid("a time that is not one of UTC");
  const [, year, month, day, hour, minute, second] = when;
  return { digest: toHex(derInside(digest, 0x04)), time: `${year}-${month}-${day} ${hour}:${minute}:${second}Z` };
}

function derInside(data, tag) {
  if (!data || derParts(data).length !== 1 || data[0] !== tag) throw new Invalid("no timestamp response of RFC 3161");
  return data.subarray(derHeader(data));
}

function derParts(data) {
  const parts = [];
  for (let rest = data; rest.length; ) {
    const start = derHeader(rest);
    const size = rest[1] < 0x80 ? rest[1] : rest.subarray(2, start).reduce((sum, byte) => sum * 256 + byte, 0);
    if (!(start + size <= rest.length)) throw new Invalid("DER that ends too soon");
    parts.push(rest.subarray(0, start + size));
    rest = rest.subarray(start + size);
  }
  return parts;
}

function derHeader(data) {
  if (data.length < 2 || data[1] === 0x80 || (data[1] > 0x80 && (data[1] & 0x7f) > 4)) throw new Invalid("a length that is not DER");
  return 2 + (data[1] & 0x80 ? data[1] & 0x7f : 0);
}

/** Return the digests under which a checkpoint counts as stamped: with all its signatures, or the first of them. */
async function stampable(note) {
  const text = decoded(note);
  const digests = new Set([toHex(await sha256(note))]);
  const blank = text.lastIndexOf("\n\n");
  if (blank < 0) return digests;
  let end = blank + 2;
  for (const line of text.slice(end).split("\n").slice(0, -1)) {
    end += line.length + 1;
    digests.add(toHex(await sha256(encoder.encode(text.slice(0, end)))));
  }
  return digests;
}

// --- C2PA: which record a manifest names, without checking who signed it -------------------------------------

const RECORD_ASSERTION = "org.sora-ledger.record";
const ASSERTION_FORMAT = "sora-ledger/provenance/v1";

/** Return what the active manifest of a C2PA store says of its record; null if it names none, `Invalid` if it is no store. */
export function namedRecord(store) {
  const [label, manifests] = superbox(store);
  if (label !== "c2pa" || !manifests.length) throw new Invalid("no C2PA manifest store");
  const [, active] = superbox(manifests.at(-1));
  for (const box of active) {
    if (boxKind(box) !== "jumb" || superbox(box)[0] !== "c2pa.assertions") continue;
    for (const assertion of superbox(box)[1]) {
      const [name, content] = superbox(assertion);
      if (name !== RECORD_ASSERTION || !content.length || boxKind(content[0]) !== "json") continue;
      let claim = null;
      try {
        claim = JSON.parse(decoded(content[0].subarray(8)));
      } catch (error) {
        throw new Invalid(String(error.message));
      }
      if (!isObject(claim) || claim.format !== ASSERTION_FORMAT) throw new Invalid(`an assertion ${RECORD_ASSERTION} of another form`);
      return claim;
    }
  }
  return null;
}

function boxKind(box) {
  return String.fromCharCode(...box.subarray(4, 8));
}

function superbox(data) {
  if (boxesIn(data).length !== 1 || boxKind(data) !== "jumb") throw new Invalid("no JUMBF box");
  const [description, ...inside] = boxesIn(data.subarray(8));
  if (!description || boxKind(description) !== "jumd" || description.length < 25) throw new Invalid("a JUMBF box without its description");
  const end = description.indexOf(0, 25);
  const label = description[24] & 2 ? description.subarray(25, end < 0 ? description.length : end) : new Uint8Array(0);
  return [String.fromCharCode(...label.subarray(0, 200)), inside];
}

function boxesIn(data) {
  const boxes = [];
  for (let rest = data; rest.length; ) {
    const size = rest.length < 8 ? 0 : new DataView(rest.buffer, rest.byteOffset, 4).getUint32(0);
    if (size < 8 || size > rest.length) throw new Invalid("a box that does not fit");
    boxes.push(rest.subarray(0, size));
    rest = rest.subarray(size);
  }
  return boxes;
}

// --- proof files: C2SP tlog-proof, and the request to a tlog-witness --------------------------------------

/** Read an inclusion or consistency proof; `Invalid` says what is wrong with it. */
export function readProof(bytes) {
  if (bytes.length > MAX_PROOF_BYTES) throw new Invalid(`more than ${MAX_PROOF_BYTES} bytes`);
  const blank = bytes.findIndex((byte, at) => byte === 10 && bytes[at + 1] === 10);
  if (blank < 0) throw new Invalid("not lines, an empty line, and a checkpoint");
  const above = decoded(bytes.subarray(0, blank));
  if (/[^\u0000-\u007f]/.test(above)) throw new Invalid("lines that are not ASCII");
  const lines = above.split("\n");
  const checkpoint = readCheckpoint(bytes.subarray(blank + 2));
  if (lines[0].startsWith("old ")) {
    return { kind: "consistency", oldSize: readNumber(lines[0].slice(4)), path: readHashes(lines.slice(1)), checkpoint };
  }
  if (lines.shift() !== PROOF_VERSION) throw new Invalid(`a proof begins with the line ${PROOF_VERSION}`);
  const record = lines[0]?.startsWith("extra ") ? fromBase64(lines.shift().slice(6)) : null;
  if (!lines[0]?.startsWith("index ")) throw new Invalid("a proof without the line “index” and a number");
  const index = readNumber(lines.shift().slice(6));
  return { kind: "inclusion", record, index, path: readHashes(lines), checkpoint };
}

function readNumber(text) {
  if (!DECIMAL.test(text)) throw new Invalid(`expected a decimal number, found ${shown(text.slice(0, 30))}`);
  return BigInt(text);
}

function readHashes(lines) {
  if (lines.length > MAX_HASHES) throw new Invalid(`a proof has at most ${MAX_HASHES} hashes`);
  return lines.map((line) => {
    const hash = fromBase64(line);
    if (hash.length !== 32) throw new Invalid("a hash that does not have 32 bytes");
    return hash;
  });
}

// --- permissions: who asked, who approved, and whether a decision was permitted ---------------------------

const REQUEST_1 = "sora-ledger/request/1";
const ANSWER_1 = "sora-ledger/approval/1";
const ANSWER_2 = "sora-ledger/approval/2";
const TYPED = ["flag", "environment"];
const NAMED_BY_ACCESS = ["access_key", "oidc"];
const FIRST = ["render.requested", "change.proposed"];
const ENDED = ["render.decided", "render.denied", "render.cancelled", "approval.refused", "change.closed"];
const CHANGES = {
  "policy.activated": "policy.activate",
  "budget.set": "budget.set",
  "access.granted": "access.grant",
};
const FOLLOWED = new Set(
  [...FIRST, ...ENDED, ...Object.keys(CHANGES), "render.held", "approval.granted", "decision.overridden"],
);
const RULINGS = ["render.decided", "render.held", "render.denied"];
const CONTENT = ["policy_sha256", "catalog_sha256", "budget", "limit_usd_micros"];
const MATCHED = [
  ["model", "models"],
  ["purpose", "purposes"],
  ["operation", "operations"],
  ["change_verdict", "change_verdicts"],
];
const DATED = /^[0-9]{4}_[0-9]{2}(_[0-9]{2})?$/;
const NOT_PERMITTED = "DECISION_NOT_PERMITTED";
const CHANGE_NOT_PERMITTED = "CHANGE_NOT_PERMITTED";
const SIGNED = "a signature by a key that the policy names for them";

/** A payload or policy without what is needed of it. */
class FieldMissing extends Error {}

function need(object, key) {
  if (!isObject(object) || !(key in object)) throw new FieldMissing(`no field ${key}`);
  return object[key];
}

function needKind(value, kind) {
  if (typeof value !== kind) throw new FieldMissing(`${shown(value)} where a ${kind} is expected`);
  return value;
}

function needObject(value) {
  if (!isObject(value)) throw new FieldMissing(`${shown(value)} where an object is expected`);
  return value;
}

/** Say whether a value says nothing: null, false, 0, "", [], {}. */
function isBlank(value) {
  const content = typeof value === "object" && value !== null ? Object.keys(value).length : value;
  return !content;
}

function orEmpty(value, empty) {
  return isBlank(value) ? empty : value;
}

function itemsOf(value) {
  if (Array.isArray(value) || typeof value === "string") return [...value];
  if (isObject(value)) return Object.keys(value);
  throw new FieldMissing("not a list");
}

/** Return what the bytes of a policy say of people; null where they are no policy that can be read. */
export function readRules(body) {
  try {
    const policy = strictJson(body);
    const people = ["approvers", "requesters"].map((name) => {
      const named = orEmpty(policy[name], {});
      if (!isObject(named)) throw new FieldMissing(name);
      const read = Object.entries(named).map(([actor, keys]) => [actor, itemsOf(keys)]);
      read.forEach(([, keys]) => keys.forEach((key) => needKind(key, "string")));
      return new Map(read);
    });
    const approvals = itemsOf(orEmpty(policy.approvals, [])).map(readRule);
    const overridable = itemsOf(orEmpty(policy.overridable, [])).map(String);
    return { approvers: people[0], requesters: people[1], approvals, overridable, requester: policy.requester ?? null };
  } catch (error) {
    if (error instanceof FieldMissing || error instanceof Invalid) return null;
    throw error;
  }
}

function readRule(rule) {
  if (!isObject(rule)) throw new FieldMissing("a rule");
  for (const name of [...MATCHED.map(([, names]) => names), "guardrails", "signed_by"]) {
    itemsOf(orEmpty(rule[name], [])).forEach((item) => needKind(item, "string"));
  }
  needKind(need(rule, "code"), "string");
  needKind(need(rule, "people"), "number");
  if ("min_cost_usd_micros" in rule) needKind(rule.min_cost_usd_micros, "number");
  return rule;
}

function ruleMatches(rule, render, cost) {
  const named = MATCHED.every(
    ([name, names]) => (rule[names] ?? null) === null || itemsOf(rule[names]).includes(render[name]),
  );
  const guarded =
    (rule.guardrails ?? null) === null || itemsOf(rule.guardrails).some((code) => render.guardrails.includes(code));
  return named && guarded && needKind(cost, "number") >= (rule.min_cost_usd_micros ?? 0);
}

function areDifferent(one, other) {
  const sources = [one.source, other.source];
  if (sources.includes("typed") || one.actor === other.actor) return false;
  if (sources.every((source) => source === "signature")) return true;
  if (sources.some((source) => NAMED_BY_ACCESS.includes(source))) return true;
  return (one.login ?? null) !== null && (other.login ?? null) !== null && one.login !== other.login;
}

function satisfies(person, rule) {
  const signers = itemsOf(orEmpty(rule.signed_by, []));
  const signed = person.source === "signature" || !(orEmpty(rule.signed, null) || signers.length);
  return signed && (!signers.length || signers.includes(person.actor));
}

/** Return those approvals that count: by other people than the requester, who may be anybody if typed. */
function thatCount(asked, approvals) {
  const kept = [];
  for (const one of approvals) {
    const another = asked.source === "typed" ? one.source === "signature" : areDifferent(one, asked);
    if (another && kept.every((other) => areDifferent(one, other))) kept.push(one);
  }
  return kept;
}

/** What the records of a stream say about who asked for it and who permitted it, one after the other. */
class Permissions {
  constructor(rulesOf) {
    this.rulesOf = rulesOf; // a policy by digest; null if it is not here, or cannot be read
    this.activated = null; // positions and digests of the activations so far; null if not all records are read
    this.ledgerId = null;
    this.bindingSince = 0;
    this.applied = null;
    this.periods = new Map();
    this.names = new Set();
    this.signatures = 0;
    this.unjudged = 0;
  }

  /** Take the next record of a stream; return what to remember of the stream, and what was found. */
  async follow(remembered, record, leaf, payload) {
    const type = record.type;
    let streamCase = remembered;
    const found = Object.hasOwn(CHANGES, type) ? await this.checkChange(record, payload) : [];
    found.push(...this.checkGranted(record, payload));
    if (FIRST.includes(type)) streamCase = this.openCase(record, leaf, payload);
    if (!streamCase) return [null, found];
    if (streamCase.signs && !FIRST.includes(type)) found.push(...(await this.checkRequest(streamCase, record, payload)));
    if (RULINGS.includes(type)) found.push(...(await this.checkAfterApproval(streamCase, record)));
    found.push(...(await this.take(streamCase, record, leaf, payload)));
    return [ENDED.includes(type) ? null : streamCase, found];
  }

  async take(streamCase, record, leaf, payload) {
    const type = record.type;
    if (type === "change.proposed") return this.checkProposed(streamCase);
    if (type === "render.held") {
      streamCase.pending = pendingOf(record, leaf, payload);
      streamCase.answers = [];
      return this.mayAsk(streamCase, NOT_PERMITTED);
    }
    if (type === "approval.granted" || type === "approval.refused") {
      return this.checkAnswer(streamCase, record, payload);
    }
    if (type === "render.decided") return this.checkDecided(streamCase, payload);
    if (type === "decision.overridden") streamCase.overridden.push(need(payload, "detail_code"));
    else if (type === "change.closed" && need(payload, "outcome") === "applied" && streamCase.answers.length) {
      this.applied = { ...streamCase, stream: record.stream, closedAt: record.position };
    }
    return [];
  }

  /** Check that an actor identified by an access key had been granted one. */
  checkGranted(record, payload) {
    if (record.type === "access.granted") this.names.add(need(payload, "name"));
    if (record.actor_source !== "access_key" || !this.activated || this.names.has(record.actor)) return [];
    return [["ACCESS_NOT_GRANTED", shown(record.actor), "access.granted for this name before it", "none"]];
  }

  /** Return the policy activated last, "" if there is none, null if this reader cannot know. */
  inForce() {
    if (!this.activated) return null;
    return this.activated.length ? this.activated.at(-1)[1] : "";
  }

  // the request

  openCase(record, leaf, payload) {
    const source = record.actor_source;
    const opened = {
      actor: record.actor,
      source: TYPED.includes(source) ? "typed" : source,
      login: source === "operating_system" ? record.actor : null,
      eventId: record.event_id,
      payloadSha256: record.payload_sha256,
      leaf: toHex(leaf),
      operation: need(payload, "operation"),
      purpose: payload.purpose ?? null,
      signs: source === "signature",
      key: null,
      pending: null,
      answers: [],
      overridden: [],
      change: null,
    };
    if (record.type === "change.proposed") {
      opened.pending = { leaf: toHex(leaf), policy: need(payload, "required_by_sha256") };
      opened.change = Object.fromEntries(CONTENT.map((name) => [name, need(payload, name)]));
      opened.change.access = payload.access ?? null;
    }
    return opened;
  }

  /** Check the signature of a request, in the record after it; if it is wrong, its actor was typed. */
  async checkRequest(streamCase, record, payload) {
    streamCase.signs = false;
    const source = streamCase.source;
    streamCase.source = "typed";
    const who = shown(streamCase.actor);
    if (record.type !== "request.signed") {
      return [["REQUEST_SIGNATURE", who, "the request's signature in the next record", record.type]];
    }
    const statement = {
      actor: streamCase.actor,
      event_id: streamCase.eventId,
      ledger_id: this.ledgerId,
      login: need(payload, "login"),
      payload_sha256: streamCase.payloadSha256,
      policy_sha256: need(payload, "policy_sha256"),
      statement: REQUEST_1,
      stream: record.stream,
    };
    const digest = payload.policy_sha256;
    const cited = !this.activated || this.activated.some(([, item]) => item === digest);
    const rules = cited ? await this.rulesOf(digest) : null;
    if (cited && !rules) {
      this.unjudged += 1;
      return [];
    }
    const keys = rules ? keysFor(streamCase.actor, rules.approvers, rules.requesters) : [];
    streamCase.key = await this.signingKey(keys, statement, payload);
    if (record.actor !== streamCase.actor || streamCase.key === null) {
      return [["REQUEST_SIGNATURE", who, SIGNED, keyOf(payload)]];
    }
    streamCase.source = source;
    streamCase.login = payload.login;
    return [];
  }

  async mayAsk(streamCase, code) {
    const digest = this.inForce();
    const rules = digest === "" ? null : await this.rulesOf(digest ?? streamCase.pending.policy);
    const wanted = rules ? rules.requester : null;
    const source = streamCase.source;
    if ((wanted === "identified" && source === "typed") || (wanted === "signed" && source !== "signature")) {
      return [[code, shown(streamCase.actor), `a requester who is ${wanted}`, source]];
    }
    return [];
  }

  // answers

  async checkAnswer(streamCase, record, payload) {
    if (!streamCase.pending) return []; // found elsewhere as a step that may not follow
    const version = record.schema_version;
    const signed = need(payload, "signature") !== null;
    const answer = {
      actor: record.actor,
      source: "typed",
      login: payload.login ?? null,
      eventId: record.event_id,
      position: record.position,
      version,
      policy: payload.policy_sha256 ?? null,
      expiresAt: payload.expires_at ?? null,
      key: null,
    };
    if (record.type === "approval.granted") streamCase.answers.push(answer);
    const found = this.checkCited(record, answer);
    if (!signed) {
      if (record.actor_source === "signature") {
        return [...found, ["APPROVAL_SIGNATURE", shown(record.actor), "a signature", "none"]];
      }
      answer.source = TYPED.includes(record.actor_source) ? "typed" : record.actor_source;
      return found;
    }
    const policies = this.policiesFor(streamCase, answer);
    const named = [];
    for (const digest of policies) {
      const rules = await this.rulesOf(digest);
      if (rules) named.push(rules);
    }
    if (named.length < policies.length) this.unjudged += 1;
    const keys = named.flatMap((rules) => keysFor(record.actor, rules.approvers));
    const statement = this.statementOf(streamCase, record, payload);
    answer.key = await this.signingKey(keys, statement, payload);
    if (answer.key !== null) {
      answer.source = record.actor_source === "signature" ? "signature" : "typed";
    } else if (named.length === policies.length && this.knows(keys, payload, version)) {
      found.push(["APPROVAL_SIGNATURE", shown(record.actor), SIGNED, keyOf(payload)]);
    }
    return found;
  }

  /** Say whether `keys` are all that may be named, or the one that is said to have signed is among them. */
  knows(keys, payload, version) {
    if (this.activated || version > 1) return true;
    this.unjudged += 1;
    return keys.some((key) => key.split("+")[1] === need(payload, "key_id"));
  }

  /** Check that an answer cites the policy in force; version 1 cites none, and ends where 2 begins. */
  checkCited(record, answer) {
    if (answer.version === 1) {
      if (!this.bindingSince) return [];
      const expected = `version 2, as since position ${this.bindingSince}`;
      return [["APPROVAL_VERSION", shown(record.actor), expected, "version 1"]];
    }
    this.bindingSince = this.bindingSince || record.position;
    const inForce = this.inForce();
    if (inForce === null || inForce === "" || inForce === answer.policy) return [];
    return [["APPROVAL_POLICY", shown(record.actor), `the policy in force, ${inForce}`, shown(answer.policy)]];
  }

  /** Return the policies that may name the key of an answer. */
  policiesFor(streamCase, answer) {
    if (answer.version > 1) return [answer.policy];
    const held = streamCase.pending;
    const since = (this.activated ?? []).filter(([position]) => needKind(held.position, "number") < position);
    return [held.policy, ...since.map(([, digest]) => digest)];
  }

  statementOf(streamCase, record, payload) {
    const pending = streamCase.pending;
    const text = { actor: record.actor, ledger_id: this.ledgerId, verdict: record.type.slice(record.type.indexOf(".") + 1) };
    if (record.schema_version === 1) {
      return {
        ...text,
        decision_id: need(pending, "decisionId"),
        held_event_id: need(pending, "eventId"),
        job_id: record.stream,
        statement: ANSWER_1,
      };
    }
    return {
      ...text,
      expires_at: need(payload, "expires_at"),
      login: need(payload, "login"),
      pending_leaf: pending.leaf,
      policy_sha256: need(payload, "policy_sha256"),
      requested_leaf: streamCase.leaf,
      statement: ANSWER_2,
      stream: record.stream,
    };
  }

  /** Return the key among `keys` that signed `statement`, null if none did. */
  async signingKey(keys, statement, payload) {
    const text = encoder.encode(canonical(statement) + "\n");
    try {
      const signature = fromBase64(String(need(payload, "signature")));
      for (const key of keys) {
        if (key.split("+")[1] !== need(payload, "key_id")) continue;
        const named = await readKey(key);
        if (named.kind !== WITNESS_KEY && (await ed25519Verifies(named.publicKey, text, signature))) {
          this.signatures += 1;
          return key;
        }
      }
    } catch (error) {
      if (!(error instanceof Invalid)) throw error;
    }
    return null;
  }

  // decisions

  async checkDecided(streamCase, payload) {
    const basis = need(payload, "basis");
    const inputs = needObject(need(basis, "inputs"));
    const digest = this.inForce();
    const rules = digest === "" ? null : await this.rulesOf(digest ?? need(basis, "policy_sha256"));
    const found = checkOverridden(streamCase, inputs, rules);
    if (orEmpty(inputs.approved, null)) return [...found, ...checkAsApproved(streamCase, payload)];
    const render = {
      model: need(payload, "model"),
      purpose: streamCase.purpose,
      operation: streamCase.operation,
      change_verdict: inputs.change_verdict ?? null,
      guardrails: String(inputs.guardrails ?? "").split(","),
    };
    for (const rule of rules ? rules.approvals : []) {
      if (ruleMatches(rule, render, need(payload, "cost_usd_micros"))) {
        found.push([NOT_PERMITTED, `rule ${shown(rule.code)}`, `approved by ${rule.people}`, "decided without"]);
      }
    }
    return found;
  }

  /** Check that what was ruled after an approval has all it takes, and was ruled for the last one. */
  async checkAfterApproval(streamCase, record) {
    const { pending: held, answers } = streamCase;
    if (!answers.length || answers.some((answer) => answer.version === 1)) return [];
    const found = [];
    if (record.causation_id !== answers.at(-1).eventId) {
      const expected = `the last approval, ${answers.at(-1).eventId}`;
      found.push([NOT_PERMITTED, "causation_id", expected, shown(record.causation_id)]);
    }
    const under = await this.rulesUnder(answers);
    const then = await this.rulesOf(held.policy);
    if (!under || !then) {
      this.unjudged += 1;
      return found;
    }
    const byCode = new Map([...then.approvals, ...under.approvals].map((rule) => [rule.code, rule]));
    const codes = itemsOf(need(held, "codes"));
    for (const code of codes.filter((one) => !byCode.has(one))) {
      found.push([NOT_PERMITTED, `rule ${shown(code)}`, "a rule of the policy", "none"]);
    }
    const rules = codes.filter((code) => byCode.has(code)).map((code) => byCode.get(code));
    return [...found, ...unmet(streamCase, rules, under, record.recorded_at, NOT_PERMITTED)];
  }

  /** Return the rules in force at the last of `answers`. */
  async rulesUnder(answers) {
    return this.rulesOf(this.inForce() || answers.at(-1).policy);
  }

  // changes of policies, budgets and access

  async checkProposed(streamCase) {
    const cited = streamCase.pending.policy;
    const inForce = this.inForce();
    if (inForce !== null && inForce !== "" && inForce !== cited) {
      return [[CHANGE_NOT_PERMITTED, "required_by_sha256", `the policy in force, ${inForce}`, shown(cited)]];
    }
    return this.mayAsk(streamCase, CHANGE_NOT_PERMITTED);
  }

  /** Check that a policy, limit or grant was changed as the policy in force before it wants that done. */
  async checkChange(record, payload) {
    const isPeriod = record.type === "budget.set" && this.beginsPeriod(record, payload);
    const change = this.applied && carriesOut(this.applied, record, payload) ? this.applied : null;
    const digest = this.inForce();
    if (digest === "" || isPeriod || (digest === null && !change)) return [];
    const under = change ? await this.rulesUnder(change.answers) : await this.rulesOf(digest);
    const then = change ? await this.rulesOf(change.pending.policy) : under;
    if (!under || !then) {
      if (change) this.unjudged += 1;
      return [];
    }
    const operation = CHANGES[record.type];
    const rules = rulesFor(operation, under);
    if (!rules.length) return [];
    if (!change) {
      const codes = rules.map((rule) => shown(rule.code)).join(", ");
      const expected = "the approval that carried it out, in the same append, as its cause";
      return [[CHANGE_NOT_PERMITTED, `${operation} by rule ${codes}`, expected, "none"]];
    }
    const named = new Set(rules.map((rule) => rule.code));
    const more = rulesFor(operation, then).filter((rule) => !named.has(rule.code));
    return unmet(change, [...rules, ...more], under, record.recorded_at, CHANGE_NOT_PERMITTED);
  }

  /** Say whether a record only repeats, for a new month or day, the limit of every month or day. */
  beginsPeriod(record, payload) {
    const budget = need(payload, "budget");
    const limit = need(payload, "limit_usd_micros");
    if (record.stream !== `budget_${budget}`) return false;
    const [name, last] = lastPart(needKind(budget, "string"));
    if (last === "month" || last === "day") this.periods.set(budget, [record.event_id, limit]);
    const dated = DATED.exec(last);
    if (!dated || record.version !== 1) return false;
    const every = this.periods.get(`${name}__${dated[1] ? "day" : "month"}`);
    return Boolean(every) && every[0] === record.causation_id && every[1] === limit;
  }
}

function keysFor(actor, ...named) {
  return named.flatMap((keys) => keys.get(actor) ?? []);
}

function keyOf(payload) {
  return `key ${shown(need(payload, "key_id"))}, which did not sign this`;
}

function lastPart(budget) {
  const at = budget.lastIndexOf("__");
  return at < 0 ? ["", budget] : [budget.slice(0, at), budget.slice(at + 2)];
}

/** Return what an answer to a hold has to know of it, among others the model that would be rendered. */
function pendingOf(record, leaf, payload) {
  const basis = need(payload, "basis");
  const wished = needObject(need(basis, "inputs")).wished_model ?? null;
  const passed = itemsOf(need(basis, "candidates"))
    .filter((item) => isBlank(need(item, "gates_failed")))
    .map((item) => ({
      model: need(item, "model"),
      score: needKind(orEmpty(need(item, "score"), 0), "number"),
      cost: orEmpty(need(item, "cost_usd_micros"), 0),
    }));
  passed.sort(
    (a, b) =>
      Number(a.model !== wished) - Number(b.model !== wished) ||
      b.score - a.score ||
      needKind(a.cost, "number") - needKind(b.cost, "number") ||
      compareText(needKind(a.model, "string"), needKind(b.model, "string")),
  );
  return {
    leaf: toHex(leaf),
    eventId: record.event_id,
    decisionId: need(basis, "decision_id"),
    policy: need(basis, "policy_sha256"),
    codes: need(payload, "reason_codes"),
    position: record.position,
    model: passed[0]?.model ?? null,
    cost: passed[0]?.cost ?? 0,
  };
}

/** Check the denials that a decision set aside: the policy permits it, and it was recorded. */
function checkOverridden(streamCase, inputs, rules) {
  if (!rules) return [];
  const codes = String(orEmpty(inputs.overridden, "")).split(",").filter(Boolean);
  const expected = "decision.overridden before it, of a denial that the policy lets be set aside";
  return codes
    .filter((code) => !rules.overridable.includes(code) || !streamCase.overridden.includes(code))
    .map((code) => [NOT_PERMITTED, shown(code), expected, "set aside without"]);
}

/** Check that a decision made on approvals follows some, and decides what was approved. */
function checkAsApproved(streamCase, payload) {
  const held = streamCase.pending;
  if (!held || !streamCase.answers.length) {
    return [[NOT_PERMITTED, "inputs.approved", "a hold and approvals before it", "none"]];
  }
  const [model, cost] = [need(payload, "model"), needKind(need(payload, "cost_usd_micros"), "number")];
  if (model === held.model && cost <= needKind(held.cost, "number")) return [];
  const expected = `${shown(held.model)} at ${held.cost} or less`;
  return [[NOT_PERMITTED, "what was approved", expected, `${shown(model)} at ${cost}`]];
}

/** Return a finding for each of `rules` that the approvals that count at a time do not meet. */
function unmet(streamCase, rules, under, at, code) {
  const asked = { actor: streamCase.actor, source: streamCase.source, login: streamCase.login };
  if (asked.source === "signature" && !keysFor(asked.actor, under.approvers, under.requesters).includes(streamCase.key)) {
    asked.source = "typed";
  }
  const kept = thatCount(asked, approversOf(streamCase.answers, under, at));
  const found = [];
  for (const rule of rules) {
    const wanted = kept.filter((person) => satisfies(person, rule)).length;
    const enough = rule.people + (asked.source === "typed" ? 1 : 0);
    if (wanted < rule.people || kept.length < enough) {
      const expected = `${enough} approvals that count, ${rule.people} of them as the rule wants`;
      found.push([code, `rule ${shown(rule.code)}`, expected, `${kept.length}, ${wanted}`]);
    }
  }
  return found;
}

/** Return who approved in time; a key that the policy no longer names makes a typed name of its owner. */
function approversOf(answers, under, decidedAt) {
  return answers
    .filter((one) => one.expiresAt === null || compareText(needKind(one.expiresAt, "string"), decidedAt) > 0)
    .map((one) => {
      const gone = one.source === "signature" && !keysFor(one.actor, under.approvers).includes(one.key);
      return { actor: one.actor, source: gone ? "typed" : one.source, login: one.login };
    });
}

/** Return the rules for a change; those for the policy are for access too, if no rule is about access. */
function rulesFor(operation, rules) {
  const found = rules.approvals.filter((rule) => itemsOf(orEmpty(rule.operations, [])).includes(operation));
  return operation === "access.grant" && !found.length ? rulesFor("policy.activate", rules) : found;
}

/** Say whether a record is what an applied change is: next in the same append, and what was proposed. */
function carriesOut(applied, record, payload) {
  const approval = applied.answers.at(-1);
  const change = needObject(applied.change);
  const behind = record.position - applied.closedAt;
  if (
    applied.operation !== CHANGES[record.type] ||
    record.causation_id !== approval.eventId ||
    approval.position !== applied.closedAt - 1 ||
    !applied.stream.startsWith("change_")
  ) {
    return false;
  }
  if (record.type === "policy.activated") {
    const matches = ["policy_sha256", "catalog_sha256"].every((name) => need(payload, name) === need(change, name));
    return behind === 1 && record.stream === "policy" && matches;
  }
  if (record.type === "access.granted") {
    return behind === 1 && record.stream === "access" && canonical(payload) === canonical(need(change, "access"));
  }
  const budgets = [need(change, "budget"), datedBudget(String(change.budget), record.recorded_at)];
  const named = (behind === 1 || behind === 2) && need(payload, "budget") === budgets[behind - 1];
  const limits = need(payload, "limit_usd_micros") === need(change, "limit_usd_micros");
  return named && limits && record.stream === `budget_${payload.budget}`;
}

/** Return the budget of the month or day of a time, null if `budget` is for neither. */
function datedBudget(budget, recordedAt) {
  const [name, period] = lastPart(budget);
  const length = period === "month" ? 7 : period === "day" ? 10 : 0;
  return length ? `${name}__${recordedAt.slice(0, length).replaceAll("-", "_")}` : null;
}

// --- the zip file ----------------------------------------------------------------------------------------

const ENTRY_BYTES = 46;
const HEADER_BYTES = 30;
const END_BYTES = 22;
const UTF8_NAME = 0x800;
const LATEST_VERSION = 63;

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value;
});

function crcAfter(crc, bytes) {
  let value = ~crc;
  for (const byte of bytes) value = (value >>> 8) ^ CRC_TABLE[(value ^ byte) & 0xff];
  return ~value >>> 0;
}

async function bytesOf(blob, start, end) {
  return new Uint8Array(await blob.slice(start, end).arrayBuffer());
}

function viewOf(bytes) {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function is(bytes, at, signature) {
  return viewOf(bytes).getUint32(at, true) === signature;
}

function noZip(why) {
  return new Unreadable(`not a zip file that can be read (${why})`);
}

const END = 0x06054b50;

/** Return where the end of the central directory stands in the last bytes of a zip file. */
function findEnd(tail) {
  const last = tail.length - END_BYTES;
  if (last >= 0 && is(tail, last, END) && tail.at(-1) === 0 && tail.at(-2) === 0) return last;
  for (let at = tail.length - 4; at >= 0; at -= 1) {
    if (!is(tail, at, END)) continue;
    if (at > last) throw noZip("its end is cut off");
    return at;
  }
  throw noZip("no end of a central directory");
}

/** Return where the central directory begins, its size, and how far the archive is shifted by bytes before it. */
async function findDirectory(blob) {
  const from = Math.max(blob.size - 2 ** 16 - END_BYTES, 0);
  const tail = await bytesOf(blob, from, blob.size);
  const at = findEnd(tail);
  const view = viewOf(tail);
  let [size, offset, before] = [view.getUint32(at + 12, true), view.getUint32(at + 16, true), 0];
  const location = from + at;
  const end64 = await bytesOf(blob, Math.max(location - 76, 0), location);
  if (end64.length === 76 && is(end64, 56, 0x07064b50)) {
    const locator = viewOf(end64);
    if (locator.getUint32(60, true) !== 0 || locator.getUint32(72, true) > 1) throw noZip("several disks");
    if (is(end64, 0, 0x06064b50)) {
      size = Number(locator.getBigUint64(40, true));
      offset = Number(locator.getBigUint64(48, true));
      before = 76;
    }
  }
  const start = location - size - before;
  if (start < 0) throw noZip("a central directory larger than the file");
  return { start, size, shift: start - offset };
}

/** Return the entries of a zip file in the order of its central directory. */
async function readDirectory(blob) {
  const { start, size, shift } = await findDirectory(blob);
  const data = await bytesOf(blob, start, start + size);
  const view = viewOf(data);
  const entries = [];
  for (let at = 0; at < size; ) {
    if (at + ENTRY_BYTES > data.length) throw noZip("a central directory that is cut off");
    if (!is(data, at, 0x02014b50)) throw noZip("a central directory with something else in it");
    const [nameSize, extraSize, commentSize] = [28, 30, 32].map((field) => view.getUint16(at + field, true));
    const name = data.subarray(at + ENTRY_BYTES, at + ENTRY_BYTES + nameSize);
    const flags = view.getUint16(at + 8, true);
    const entry = {
      name: entryName(name, flags),
      flags,
      method: view.getUint16(at + 10, true),
      crc: view.getUint32(at + 16, true),
      packed: view.getUint32(at + 20, true),
      size: view.getUint32(at + 24, true),
      mode: view.getUint16(at + 40, true),
      offset: view.getUint32(at + 42, true),
    };
    if (data[at + 6] > LATEST_VERSION) throw noZip(`version ${data[at + 6] / 10} of the format`);
    at += ENTRY_BYTES + nameSize;
    readSizes(entry, data.subarray(at, at + extraSize));
    entry.offset += shift;
    entries.push(entry);
    at += extraSize + commentSize;
    if (entries.length > MAX_FILES) break; // found in `Archive`
  }
  limitEntries(entries, start);
  return entries;
}

function entryName(bytes, flags) {
  if (!(flags & UTF8_NAME)) return String.fromCharCode(...bytes); // ASCII, or no name of the format
  try {
    return strictText.decode(bytes);
  } catch {
    throw noZip("a name that is not UTF-8");
  }
}

/** Read the sizes of a large entry from its zip64 field. */
function readSizes(entry, extra) {
  const view = viewOf(extra);
  for (let at = 0; at + 4 <= extra.length; ) {
    const length = view.getUint16(at + 2, true);
    if (at + 4 + length > extra.length) throw noZip("a field that is cut off");
    let next = at + 4;
    for (const name of view.getUint16(at, true) === 1 ? ["size", "packed", "offset"] : []) {
      if (entry[name] !== 0xffffffff) continue;
      if (next + 8 > at + 4 + length) throw noZip("a size that is missing");
      entry[name] = Number(view.getBigUint64(next, true));
      next += 8;
    }
    at += 4 + length;
  }
}

/** Note for each entry where the next one, or the central directory, begins. */
function limitEntries(entries, directory) {
  const offsets = [...new Set(entries.map((entry) => entry.offset)), directory].sort((a, b) => a - b);
  const next = new Map(offsets.map((offset, at) => [offset, offsets[at + 1] ?? offset]));
  for (const entry of entries) entry.end = next.get(entry.offset);
}

/** A zip file whose names and sizes were checked; reading goes through limits. */
class Archive {
  static async open(blob) {
    const entries = await readDirectory(blob);
    if (!entries.some((entry) => entry.name === "manifest.json")) {
      throw new Unreadable("a zip file without manifest.json: not a bundle of a sora-ledger");
    }
    return new Archive(blob, entries);
  }

  constructor(blob, entries) {
    this.blob = blob;
    this.entries = new Map();
    if (entries.length > MAX_FILES) {
      throw new Damaged("BUNDLE_SIZE", "the bundle", `at most ${MAX_FILES} files`, entries.length);
    }
    for (const entry of entries) {
      checkEntry(entry);
      if (this.entries.has(entry.name)) throw new Damaged("BUNDLE_NAME", shown(entry.name), "each name once", "it twice");
      this.entries.set(entry.name, entry);
    }
    const total = entries.reduce((sum, entry) => sum + entry.size, 0);
    if (total > MAX_TOTAL_BYTES) {
      throw new Damaged("BUNDLE_SIZE", "the bundle", `at most ${MAX_TOTAL_BYTES} bytes unpacked`, total);
    }
    if (entries.reduce((sum, entry) => sum + entry.packed, 0) > blob.size) {
      throw new Damaged("BUNDLE_SIZE", "the bundle", "files beside each other", "files over each other");
    }
    for (const name of ALWAYS) {
      if (!this.entries.has(name)) throw new Damaged("BUNDLE_FILE", name, "the file", "none");
    }
  }

  /** Yield the unpacked bytes of a file in parts; `Damaged` unless they have the checksum of the archive. */
  async *parts(name) {
    const entry = this.entries.get(name);
    const unreadable = (why) => new Damaged("BUNDLE_FILE", name, "a file to read", why);
    const start = await this.startOf(entry, unreadable);
    const packed = this.blob.slice(start, start + entry.packed);
    let [left, crc] = [entry.size, 0];
    for await (const part of entry.method === 8 ? inflated(packed, unreadable) : stored(packed)) {
      const wanted = part.length > left ? part.subarray(0, left) : part;
      left -= wanted.length;
      crc = crcAfter(crc, wanted);
      if (wanted.length) yield wanted;
      if (left === 0) break;
    }
    if (crc !== entry.crc) throw unreadable("bytes with another checksum");
    if (entry.method === 0 && packed.size < Math.min(entry.packed, entry.size)) throw unreadable("a file that is cut off");
  }

  /** Return where the packed bytes begin, after a header that names the same file. */
  async startOf(entry, unreadable) {
    const header = await bytesOf(this.blob, entry.offset, entry.offset + HEADER_BYTES);
    if (entry.offset < 0 || header.length < HEADER_BYTES || !is(header, 0, 0x04034b50)) throw unreadable("no header");
    const view = viewOf(header);
    const [nameSize, extraSize] = [view.getUint16(26, true), view.getUint16(28, true)];
    const from = entry.offset + HEADER_BYTES;
    const name = await bytesOf(this.blob, from, from + nameSize);
    if (entry.flags & 0x60) throw unreadable("patched data, or strong encryption");
    if (name.some((byte) => byte > 127) || String.fromCharCode(...name) !== entry.name) {
      throw unreadable(`the header of ${shown(String.fromCharCode(...name))}`);
    }
    const start = from + nameSize + extraSize;
    if (start + entry.packed > entry.end) throw unreadable("files over each other");
    return start;
  }

  /** Return a small file whole. */
  async read(name, limit) {
    const entry = this.entries.get(name);
    if (entry.size > limit) throw new Damaged("BUNDLE_SIZE", name, `at most ${limit} bytes`, entry.size);
    const parts = [];
    for await (const part of this.parts(name)) parts.push(part);
    return joined(...parts);
  }

  /** Return the SHA-256 of a file. */
  async digest(name) {
    const { size } = this.entries.get(name);
    if (size > MAX_DIGEST_BYTES) {
      throw new Unreadable(`${name} has ${size} bytes, more than a browser can digest: check it with verify_bundle.py`);
    }
    const whole = new Uint8Array(size);
    let at = 0;
    for await (const part of this.parts(name)) {
      whole.set(part, at);
      at += part.length;
    }
    return toHex(await sha256(whole.subarray(0, at)));
  }

  /** Yield the lines of a file without their ends; every line has one. */
  async *lines(name) {
    const odd = () => new Damaged("BUNDLE_FILE", name, `lines of up to ${MAX_LINE_BYTES} bytes`, "another");
    let rest = new Uint8Array(0);
    for await (const part of this.parts(name)) {
      const data = rest.length ? joined(rest, part) : part;
      let from = 0;
      for (let end = data.indexOf(10); end >= 0; end = data.indexOf(10, from)) {
        if (end - from > MAX_LINE_BYTES) throw odd();
        yield data.slice(from, end);
        from = end + 1;
      }
      rest = data.slice(from);
      if (rest.length > MAX_LINE_BYTES) throw odd();
    }
    if (rest.length) throw odd();
  }
}

function checkEntry(entry) {
  const name = shown(entry.name);
  if (!NAME.test(entry.name)) throw new Damaged("BUNDLE_NAME", name, "a name of the format", "another");
  const kind = entry.mode & 0o170000;
  if (kind && kind !== 0o100000) throw new Damaged("BUNDLE_NAME", name, "a plain file", "a link, a folder or a device");
  if (entry.flags & 1) throw new Damaged("BUNDLE_FILE", name, "a file to read", "an encrypted one");
  if (entry.method !== 0 && entry.method !== 8) {
    throw new Damaged("BUNDLE_FILE", name, "stored or deflated", `method ${entry.method}`);
  }
  if (entry.size > SMALL_BYTES && entry.size > MAX_RATIO * entry.packed) {
    throw new Damaged("BUNDLE_SIZE", name, `at most ${MAX_RATIO} times its packed size`, entry.size);
  }
}

async function* stored(packed) {
  for (let at = 0; at < packed.size; at += 2 ** 20) yield bytesOf(packed, at, at + 2 ** 20);
}

async function* inflated(packed, unreadable) {
  const reader = packed.stream().pipeThrough(new DecompressionStream("deflate-raw")).getReader();
  try {
    for (let next = await reader.read(); !next.done; next = await reader.read()) yield next.value;
  } catch {
    throw unreadable("bytes that cannot be unpacked");
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}

// --- the bundle ------------------------------------------------------------------------------------------

/** What checking came to: `findings`, and in plain words what is shown and what is not. */
class Outcome {
  constructor(kind, title) {
    this.kind = kind;
    this.title = title;
    this.findings = [];
    this.moreFindings = 0;
    this.shows = [];
    this.showsNot = [];
    this.checkpoint = null;
    this.records = 0;
    this.signedBy = [];
    this.vouchedFor = false; // signed with a key that the person named, or the checkpoint that the person holds
    this.texts = 0;
    this.textsAbsent = 0;
  }

  add(code, position, subject, expected, found) {
    if (this.findings.length >= MAX_FINDINGS) {
      this.moreFindings += 1;
      return;
    }
    this.findings.push({ code, position, subject: shown(subject), expected: shown(expected), found: shown(found) });
  }

  get verdict() {
    if (this.findings.length) return "Do not rely on it.";
    if (this.vouchedFor) return "Nothing is wrong with it.";
    return (
      "Nothing is wrong with it in itself. But anyone can make such a file, checkpoint included: " +
      "name the key by which you know the ledger, or add a checkpoint that you hold."
    );
  }
}

/** Check who signed a checkpoint, and whether it is the one that the person holds. */
async function vouch(outcome, checkpoint, { keys, held: given, known, policy }, ownKey) {
  outcome.checkpoint = checkpoint;
  await checkSignatures(outcome, checkpoint, keys, ownKey);
  if (policy) await countCosignatures(outcome, checkpoint, policy);
  const held = given ?? findHeld(known, checkpoint.origin, checkpoint.size);
  if (!held) {
    outcome.showsNot.push(
      "That the ledger is still the same today, or that others were shown the same ledger: for that, compare the " +
        "checkpoint with one that another person holds.",
    );
  } else if (held.origin !== checkpoint.origin || held.size !== checkpoint.size) {
    const found = `${checkpoint.origin} at ${checkpoint.size} records`;
    outcome.add("CHECKPOINT_OTHER", null, "checkpoint", `${held.origin} at ${held.size} records`, found);
  } else if (!same(held.root, checkpoint.root)) {
    outcome.add("CHECKPOINT_ROOT", null, "checkpoint", toHex(held.root), toHex(checkpoint.root));
  } else {
    outcome.vouchedFor = true;
    outcome.shows.push("The checkpoint is the one that you hold.");
  }
}

/** Count the cosignatures by the policy of the person. */
async function countCosignatures(outcome, checkpoint, policy) {
  let names;
  try {
    names = await cosigners(checkpoint, policy);
  } catch (error) {
    if (!(error instanceof Invalid)) throw error;
    outcome.add("CHECKPOINT_WITNESSES", null, "checkpoint", "valid cosignatures", error.message);
    return;
  }
  const words = names.map(shown).join(", ") || "nobody";
  if (!isQuorum(policy, names)) outcome.add("CHECKPOINT_WITNESSES", null, "checkpoint", "the quorum of your policy", `cosigned by ${words}`);
  else if (names.length) {
    outcome.vouchedFor ||= policy.logs.length > 0; // witnesses cosign other logs too
    outcome.shows.push(
      `The checkpoint is cosigned by witnesses you trust (${words}), which is enough by your policy: none of them has ` +
        "seen another history of this log.",
    );
  }
}

function dateNotChecked(stamp) {
  return (
    `That the checkpoint existed by ${stamp.time}: a timestamp of it says so, and its digest was compared, but who signed ` +
    "that (X.509, CMS) is not checked here. With the certificates of an authority you trust: " +
    "openssl ts -verify -data checkpoint -in FILE.tsr -CAfile CERTIFICATES"
  );
}

/** Return the checkpoint of a log and size among those that a person holds. */
function findHeld(known, origin, size) {
  return known.find((one) => one.origin === origin && one.size === size) ?? null;
}

async function checkSignatures(outcome, checkpoint, keys, ownKey) {
  const wrong = (expected, found) => outcome.add("CHECKPOINT_SIGNATURE", null, "checkpoint", expected, found);
  try {
    outcome.signedBy = await signersOf(checkpoint, keys);
  } catch (error) {
    if (!(error instanceof Invalid)) throw error;
    return wrong("a signature of this checkpoint", error);
  }
  if (outcome.signedBy.length) {
    outcome.vouchedFor = true;
    const names = keys.filter((key) => outcome.signedBy.includes(key.name)).map((key) => shown(key.text));
    return outcome.shows.push(`The checkpoint is signed with the key that you named: ${names.join(", ")}`);
  }
  if (keys.length) return wrong("a signature by a key that you named", `signed by ${namesOn(checkpoint) || "nobody"}`);
  if (!checkpoint.signatures.length) return outcome.showsNot.push("Who vouches for it: the checkpoint is not signed.");
  if ((ownKey ?? null) === null) {
    return outcome.showsNot.push(`That ${namesOn(checkpoint)} signed the checkpoint: no key was named to check it with.`);
  }
  return checkOwnSignature(outcome, checkpoint, ownKey, wrong);
}

async function checkOwnSignature(outcome, checkpoint, ownKey, wrong) {
  let names = [];
  try {
    names = await signersOf(checkpoint, [await readKey(ownKey)]);
  } catch (error) {
    if (!(error instanceof Invalid)) throw error;
    return wrong("signed with the manifest's key", error);
  }
  if (!names.length) return wrong("signed with the manifest's key", "it is not");
  outcome.shows.push(`The checkpoint is signed with the key in the manifest: ${shown(ownKey)}`);
  return outcome.showsNot.push(
    "Whose key that is: the bundle contains it. Compare it with the key that you were given another way.",
  );
}

/** Check a bundle as `checkFile` does; `Unreadable` if it is not one. */
export async function checkBundle(blob, { keys = [], held = null, known = [], policy = null } = {}) {
  const outcome = new Outcome("bundle", "a bundle");
  try {
    const archive = await Archive.open(blob);
    await new BundleCheck(archive, outcome, { keys, held, known, policy }).run();
  } catch (error) {
    if (!(error instanceof Damaged)) throw error;
    outcome.findings.push(error.finding);
  }
  return outcome;
}

class BundleCheck {
  constructor(archive, outcome, trusted) {
    this.archive = archive;
    this.outcome = outcome;
    this.trusted = trusted;
    this.citedDocuments = new Set();
    this.citedAssets = new Set();
    this.version = 0;
    this.lastPosition = 0;
    this.lastType = "";
    this.closed = false;
    this.activated = [];
    this.cases = new Map();
    this.policies = new Map();
    this.stored = new Map(); // stream and leaf of the records that stored files
    this.permissions = new Permissions((digest) => this.rules(digest));
  }

  async run() {
    const manifest = await this.manifest();
    const checkpoint = await this.checkpoint(manifest);
    this.permissions.ledgerId = [...checkpoint.origin].slice("sora-ledger/".length).join("");
    if (manifest.scope.kind === "all") this.permissions.activated = this.activated;
    await this.records(manifest.scope, checkpoint);
    await this.attached("documents", this.citedDocuments, "documents (policies, catalogs)");
    await this.attached("assets", this.citedAssets, "stored files");
    await this.timestamps();
    await this.provenance();
    this.limits(manifest.scope);
  }

  // manifest.json: names every other file with its size and digest

  async manifest() {
    const data = await this.archive.read("manifest.json", MAX_MANIFEST_BYTES);
    const manifest = orDamaged(() => strictJson(data), "BUNDLE_MANIFEST", "manifest.json", "canonical JSON");
    if (!FORMATS.includes(manifest.format)) {
      throw new Unreadable(`a manifest of ${shown(manifest.format)}; expected ${FORMATS.join(" or ")}`);
    }
    if (!isScope(manifest.scope)) throw new Damaged("BUNDLE_MANIFEST", "scope", "a job, a range or all", manifest.scope);
    const files = manifest.files;
    if (!Array.isArray(files) || !files.every(isObject)) {
      throw new Damaged("BUNDLE_MANIFEST", "files", "a list of files", files);
    }
    await this.files(new Map(files.map((item) => [String(item.name), item])), files.length);
    return manifest;
  }

  async files(listed, count) {
    const there = new Set(this.archive.entries.keys());
    there.delete("manifest.json");
    const odd = [...there].filter((name) => !listed.has(name)).concat([...listed.keys()].filter((name) => !there.has(name)));
    if (odd.length || listed.size !== count) {
      const found = odd.sort(compareText).join(" ") || "a name twice";
      throw new Damaged("BUNDLE_MANIFEST", "files", "every file of the bundle, once", found);
    }
    for (const [name, item] of [...listed].sort(([a], [b]) => compareText(a, b))) {
      const { size } = this.archive.entries.get(name);
      if (item.bytes !== size) this.outcome.add("BUNDLE_FILE", null, name, `${shown(item.bytes)} bytes`, size);
      const found = await this.archive.digest(name);
      if (item.sha256 !== found) this.outcome.add("BUNDLE_FILE", null, name, item.sha256, found);
    }
    if (!this.outcome.findings.length) {
      this.outcome.shows.push(
        `The bundle is complete: its ${count} files are the ones that its manifest lists. (The maker of a bundle ` +
          "makes the manifest too.)",
      );
    }
  }

  // checkpoint: how long the log is, and its root

  async checkpoint(manifest) {
    const data = await this.archive.read("checkpoint", MAX_NOTE_BYTES);
    const checkpoint = orDamaged(() => readCheckpoint(data), "CHECKPOINT", "checkpoint", "a C2SP checkpoint");
    await vouch(this.outcome, checkpoint, this.trusted, manifest.verifier);
    return checkpoint;
  }

  // records.jsonl, payloads.jsonl, proofs.jsonl, bodies.jsonl: a line each per record, in the order of the log

  async records(scope, checkpoint) {
    const whole = scope.kind === "all" ? new WholeTree() : null;
    const payloads = this.lines("payloads.jsonl");
    const proofs = this.lines("proofs.jsonl");
    const bodies = await Bodies.of(this.lines("bodies.jsonl"), this.outcome);
    for await (const line of this.archive.lines("records.jsonl")) {
      this.outcome.records += 1;
      const payloadLine = (await payloads.next()).value ?? null;
      const record = this.record(line, scope);
      const leaf = await leafOf(line);
      if (whole) await whole.add(leaf);
      else await this.included(leaf, record.position, (await proofs.next()).value ?? null, checkpoint);
      if (record.type === "asset.stored" && this.stored.size < MAX_CITED) this.stored.set(record.position, [record.stream, toHex(leaf)]);
      await this.payload(record, leaf, payloadLine, bodies);
    }
    if (!(await payloads.next()).done || !(await proofs.next()).done) {
      throw new Damaged("BUNDLE_FILE", "records.jsonl", "a record for each payload and proof", "fewer");
    }
    bodies.end();
    await this.end(scope, checkpoint, whole);
  }

  async *lines(name) {
    if (this.archive.entries.has(name)) yield* this.archive.lines(name);
  }

  record(line, scope) {
    const place = `records.jsonl line ${this.outcome.records}`;
    const record = orDamaged(() => strictJson(line), "RECORD_NOT_CANONICAL", place, "canonical JSON");
    if (!isRecord(record)) throw new Damaged("RECORD_KEYS", place, "the keys of the format", Object.keys(record));
    const { position, stream, version } = record;
    if (scope.kind === "job") {
      if (stream !== scope.job_id) this.outcome.add("RECORD_OTHER", position, "stream", scope.job_id, stream);
      if (version !== this.version + 1) {
        this.outcome.add("VERSION_NOT_DENSE", position, stream, this.version + 1, version);
      }
      this.version = version;
    } else if (this.lastPosition && position !== this.lastPosition + 1) {
      this.outcome.add("POSITION_NOT_DENSE", position, "position", this.lastPosition + 1, position);
    }
    if (position <= this.lastPosition) throw new Damaged("POSITION_NOT_DENSE", place, "rising positions", position);
    this.lastPosition = position;
    this.lastType = shown(record.type);
    this.closed ||= record.type === "render.closed";
    return record;
  }

  async included(leaf, position, line, checkpoint) {
    let root;
    try {
      const proof = strictJson(line ?? new Uint8Array(0));
      if (!Array.isArray(proof.hashes) || !proof.hashes.every((item) => typeof item === "string" && HEX.test(item))) {
        throw new Invalid("a proof with something else than hashes");
      }
      if (proof.position !== position) throw new Invalid("a proof of another record");
      root = await rootOfPath(leaf, position - 1, checkpoint.size, proof.hashes.map(fromHex));
    } catch (error) {
      if (!(error instanceof Invalid)) throw error;
      return this.outcome.add("PROOF", position, "proofs.jsonl", "a proof of this record", error);
    }
    if (same(root, checkpoint.root)) return undefined;
    return this.outcome.add("PROOF", position, "root", toHex(checkpoint.root), toHex(root));
  }

  async payload(record, leaf, line, bodies) {
    const { position } = record;
    const data = line ?? new Uint8Array(0);
    const found = toHex(await sha256(data));
    if (line === null || found !== record.payload_sha256) {
      this.outcome.add("PAYLOAD_DIGEST", position, "payload", record.payload_sha256, found);
    }
    let payload;
    try {
      payload = strictJson(data);
    } catch (error) {
      if (!(error instanceof Invalid)) throw error;
      return this.outcome.add("PAYLOAD_NOT_CANONICAL", position, "payload", "canonical JSON", error);
    }
    for (const [, part] of objectsIn(payload)) this.cite(part);
    await bodies.check(position, commitmentsIn(payload));
    try {
      await this.permit(record, leaf, payload);
    } catch (error) {
      if (!(error instanceof FieldMissing)) throw error;
      this.outcome.add("PAYLOAD_FIELDS", position, record.type, "the fields of the format", error);
    }
    return undefined;
  }

  /** Check who asked, approved and decided: the signatures, and that decisions were permitted. */
  async permit(record, leaf, payload) {
    let streamCase = this.cases.get(record.stream) ?? null;
    this.cases.delete(record.stream);
    if (FOLLOWED.has(record.type) || record.actor_source === "access_key" || streamCase?.signs) {
      const [remembered, found] = await this.permissions.follow(streamCase, record, leaf, payload);
      streamCase = remembered;
      for (const [code, ...rest] of found) this.outcome.add(code, record.position, ...rest);
    }
    if (record.type === "policy.activated") {
      this.activated.push([record.position, need(payload, "policy_sha256")]); // judged by the one before it
    }
    if (streamCase) this.cases.set(record.stream, streamCase);
  }

  /** Return what the policy of this digest says of people, if it is in the bundle and is that one. */
  async rules(digest) {
    const name = `documents/${digest}`;
    if (!this.policies.has(name)) {
      const entry = this.archive.entries.get(name);
      let rules = null;
      if (entry && entry.size <= MAX_LINE_BYTES) {
        const body = await this.archive.read(name, MAX_LINE_BYTES);
        if (toHex(await sha256(body)) === digest) rules = readRules(body);
      }
      if (this.policies.size >= 32) this.policies.delete(this.policies.keys().next().value);
      this.policies.set(name, rules);
    }
    return this.policies.get(name);
  }

  /** Remember which documents and files a part of a payload cites. */
  cite(part) {
    for (const [key, item] of Object.entries(part)) {
      if (typeof item !== "string" || this.citedAssets.size + this.citedDocuments.size > MAX_CITED) continue;
      if (key === "policy_sha256" || key === "catalog_sha256" || key === "required_by_sha256") {
        this.citedDocuments.add(item);
      } else if (key === "sha256" || key === "original_sha256") this.citedAssets.add(item);
    }
  }

  async end(scope, checkpoint, whole) {
    const out = this.outcome;
    const [count, last] = [out.records, this.lastPosition];
    out.title = titleOf(scope, count, checkpoint);
    if (!count) out.add("RECORD_MISSING", null, "records.jsonl", "records", "none");
    if (scope.kind === "range" && (count !== scope.to - scope.from + 1 || last !== scope.to)) {
      const expected = `${scope.from} to ${scope.to}`;
      out.add("RECORD_MISSING", null, "records.jsonl", expected, `${count} records up to ${last}`);
    }
    const root = whole && (await whole.root());
    if (root && (BigInt(whole.size) !== checkpoint.size || !same(root, checkpoint.root))) {
      out.add("CHECKPOINT_ROOT", null, "the tree of all records", toHex(checkpoint.root), toHex(root));
    }
    const codes = out.findings.map((item) => item.code);
    if (!codes.some((code) => ["PROOF", "CHECKPOINT_ROOT", "RECORD_MISSING"].includes(code))) {
      out.shows.push(
        `The ${count} records are in the ledger ${shown(checkpoint.origin)} as it was at ${checkpoint.size} records ` +
          `with root ${toHex(checkpoint.root)}, byte for byte.`,
      );
    }
    if (!codes.some((code) => code.startsWith("PAYLOAD"))) {
      out.shows.push("What they say happened (the payloads) is what was recorded with them.");
    }
    if (out.texts) {
      out.shows.push(`${out.texts} private texts (prompts, notes and the like) are the ones that were recorded.`);
    }
    this.signed();
    if (out.textsAbsent) {
      out.showsNot.push(`${out.textsAbsent} private texts: they were left out of the bundle, or erased.`);
    }
  }

  /** Say what the signatures of people show. */
  signed() {
    const { outcome: out, permissions } = this;
    if (permissions.signatures) {
      out.shows.push(
        `${permissions.signatures} signatures of requests and approvals are right, by keys that the policies cited ` +
          "with them name for these people.",
      );
      if (!permissions.activated) {
        out.showsNot.push("That the policies cited were the ones in force: only the whole ledger shows that.");
      }
    }
    if (permissions.unjudged) {
      out.showsNot.push(
        `${permissions.unjudged} signatures or approvals could not be judged: the policies that name their keys are ` +
          "not here, or cannot be read.",
      );
    }
  }

  // documents/ and assets/: files named by their digest, cited by the payloads

  async attached(folder, cited, what) {
    const out = this.outcome;
    const names = [...this.archive.entries.keys()].filter((name) => name.startsWith(`${folder}/`)).sort(compareText);
    const [present, unchanged] = [new Set(), new Set()];
    for (const name of names) {
      const digest = name.split("/")[1].slice(0, 64);
      const found = await this.archive.digest(name);
      if (found !== digest) out.add("ATTACHED_DIGEST", null, name, digest, found);
      else if (cited.has(digest)) unchanged.add(digest);
      if (cited.has(digest)) present.add(digest);
      else out.add("ATTACHED_UNKNOWN", null, name, "a file that a record cites", "one that none does");
    }
    if (unchanged.size) out.shows.push(`${unchanged.size} ${what} cited by the records, unchanged.`);
    const absent = [...cited].filter((digest) => HEX.test(digest)).length - present.size;
    if (absent > 0) out.showsNot.push(`${absent} ${what} cited by the records: only their digests are here.`);
  }

  // timestamps/ and provenance/: what can be read without X.509, CMS and C2PA

  named(folder) {
    return [...this.archive.entries.keys()].filter((name) => name.startsWith(`${folder}/`)).sort(compareText);
  }

  async timestamps() {
    const out = this.outcome;
    const names = this.named("timestamps");
    if (!names.length) return;
    const digests = await stampable(await this.archive.read("checkpoint", MAX_NOTE_BYTES));
    for (const name of names) {
      let stamp;
      try {
        stamp = readTimestamp(await this.archive.read(name, MAX_TIMESTAMP_BYTES));
      } catch (error) {
        if (!(error instanceof Invalid)) throw error;
        out.add("TIMESTAMP", null, name, "a timestamp response of RFC 3161", error.message);
        continue;
      }
      if (!digests.has(stamp.digest)) out.add("TIMESTAMP", null, name, "a timestamp of this checkpoint", `of ${stamp.digest}`);
      else out.showsNot.push(dateNotChecked(stamp));
    }
  }

  async provenance() {
    const out = this.outcome;
    const names = this.named("provenance");
    for (const name of names) {
      const digest = name.split("/")[1].slice(0, 64);
      const found = await this.archive.digest(name);
      if (found !== digest) out.add("ATTACHED_DIGEST", null, name, digest, found);
      else if (name.endsWith(".c2pa")) await this.manifestStore(name);
    }
    if (names.length) {
      out.showsNot.push(
        `Who signed the C2PA manifests (${names.length}), and that the films they come from are as they were signed: this ` +
          "is not checked in a bundle. Choose the published film itself to have it checked.",
      );
    }
  }

  async manifestStore(name) {
    const out = this.outcome;
    let claim;
    try {
      claim = namedRecord(await this.archive.read(name, MAX_MANIFEST_STORE_BYTES));
    } catch (error) {
      if (!(error instanceof Invalid)) throw error;
      out.add("PROVENANCE", null, name, "a C2PA manifest store", error.message);
      return;
    }
    if (!claim) return;
    const held = this.stored.get(claim.position);
    if (!held) out.showsNot.push(`Which record ${name} is of: it names ${shown(claim.position)}, not here.`);
    else if (held[0] !== claim.job || held[1] !== claim.leaf) {
      out.add("PROVENANCE", claim.position, name, held.join(" "), `${shown(claim.job)} ${shown(claim.leaf)}`);
    } else out.shows.push(`The manifest ${name} names the record at position ${claim.position}, by its leaf.`);
  }

  limits(scope) {
    if (scope.kind === "job") {
      const ended = this.closed
        ? "The job had ended by then, though a review, a deletion or an erasure may have followed."
        : "By then the job had not ended.";
      this.outcome.showsNot.push(
        "That nothing more was recorded about this job. The last record here is its number " +
          `${this.version}, ${this.lastType}, at position ${this.lastPosition}. ${ended} Later records can be left ` +
          "out unnoticed; the whole ledger shows whether there are any.",
      );
    }
    this.outcome.showsNot.push(...ALWAYS_OPEN);
  }
}

const ALWAYS_OPEN = [
  "That everything that happened was recorded: a ledger shows what it holds, not what was left out.",
  "That the clocks were right: the times are what computers said; only the order is proved.",
  "Who held the signing key, or that people are who the records say: names are as they were recorded.",
];

/** The private texts, read along with the records they belong to. */
class Bodies {
  static async of(lines, outcome) {
    const bodies = new Bodies(lines, outcome);
    await bodies.advance();
    return bodies;
  }

  constructor(lines, outcome) {
    this.lines = lines;
    this.outcome = outcome;
    this.next = null;
  }

  async advance() {
    const { value, done } = await this.lines.next();
    this.next = done ? null : orDamaged(() => readBody(value), "BODY", "bodies.jsonl", "a private text");
  }

  /** Check the texts of one record against its commitments (commitment → field). */
  async check(position, committed) {
    const absent = new Map(committed);
    while (this.next && this.next.position <= position) {
      const body = this.next;
      await this.advance();
      const field = absent.get(body.commitment) ?? null;
      absent.delete(body.commitment);
      if (field === null || body.position !== position || field !== body.field) {
        this.outcome.add("BODY_UNKNOWN", position, body.field, "a text the record commits to", "another");
        continue;
      }
      const found = await commitmentOf(fromHex(body.salt), field, body.text);
      if (found === body.commitment) this.outcome.texts += 1;
      else this.outcome.add("BODY_MISMATCH", position, field, body.commitment, found);
    }
    this.outcome.textsAbsent += absent.size;
  }

  end() {
    if (this.next) this.outcome.add("BODY_UNKNOWN", null, "bodies.jsonl", "texts of the records here", "another");
  }
}

function readBody(line) {
  const body = strictJson(line);
  if (Object.keys(body).join() !== "commitment,field,position,salt,text") throw new Invalid("other keys");
  const texts = [body.commitment, body.field, body.salt, body.text];
  if (!texts.every((text) => typeof text === "string") || typeof body.position !== "number") {
    throw new Invalid("values of another kind");
  }
  if (!SALT.test(body.salt)) throw new Invalid("a salt that is not one");
  return body;
}

function orDamaged(read, code, subject, expected) {
  try {
    return read();
  } catch (error) {
    if (error instanceof Invalid) throw new Damaged(code, subject, expected, error);
    throw error;
  }
}

function isScope(scope) {
  if (!isObject(scope)) return false;
  if (scope.kind === "job") return typeof scope.job_id === "string";
  if (scope.kind === "range") return [scope.from, scope.to].every((end) => typeof end === "number" && end > 0);
  return scope.kind === "all";
}

function isRecord(record) {
  const numbers = ["position", "schema_version", "version"];
  const texts = ["actor", "actor_source", "event_id", "payload_sha256", "recorded_at", "stream", "type"];
  return (
    Object.keys(record).join(" ") === RECORD_KEYS &&
    numbers.every((name) => typeof record[name] === "number" && record[name] > 0) &&
    texts.every((name) => typeof record[name] === "string")
  );
}

function titleOf(scope, count, checkpoint) {
  const what = { job: `job ${shown(scope.job_id)}`, range: `positions ${scope.from} to ${scope.to}`, all: "everything" };
  return `${what[scope.kind]}: ${count} records of the ledger ${shown(checkpoint.origin)}`;
}

// --- for pages -------------------------------------------------------------------------------------------

/** Say which of the four kinds of file these bytes begin. */
async function kindOf(blob) {
  const start = await bytesOf(blob, 0, PROOF_VERSION.length + 1);
  if (same(start.subarray(0, 2), encoder.encode("PK"))) return "bundle";
  const text = String.fromCharCode(...start);
  if (text.startsWith("old ") || text === `${PROOF_VERSION}\n`) return "proof";
  return "checkpoint";
}

/** Check a `.tlog-proof` with the record in it. */
async function checkInclusion(proof, trusted) {
  const outcome = new Outcome("inclusion proof", `the record at position ${proof.index + 1n} of ${shown(proof.checkpoint.origin)}`);
  await vouch(outcome, proof.checkpoint, trusted, null);
  if (!proof.record) throw new Unreadable("this proof does not contain its record: check it with sora-ledger prove --check");
  const wrong = (code, expected, found) => outcome.add(code, null, "record", expected, found);
  try {
    const record = strictJson(proof.record);
    if (!isRecord(record)) wrong("RECORD_KEYS", "the keys of the format", Object.keys(record).join(" "));
    else if (BigInt(record.position) !== proof.index + 1n) wrong("PROOF", `position ${proof.index + 1n}`, record.position);
    outcome.record = record;
  } catch (error) {
    if (!(error instanceof Invalid)) throw error;
    wrong("RECORD_NOT_CANONICAL", "canonical JSON", error);
  }
  try {
    const root = await rootOfPath(await leafOf(proof.record), proof.index, proof.checkpoint.size, proof.path);
    if (!same(root, proof.checkpoint.root)) wrong("PROOF", toHex(proof.checkpoint.root), toHex(root));
  } catch (error) {
    if (!(error instanceof Invalid)) throw error;
    wrong("PROOF", "a path from this record to the root", error);
  }
  if (!outcome.findings.length) {
    outcome.shows.unshift(
      `This record is number ${proof.index + 1n} of the ledger as it was at ${proof.checkpoint.size} records, byte for byte.`,
    );
  }
  outcome.showsNot.push("What the record's payload says: the proof contains only the payload's digest.", ...ALWAYS_OPEN);
  return outcome;
}

/** Check that one checkpoint extends another. */
async function checkExtension(proof, { keys, held, known, policy }) {
  const title = `${shown(proof.checkpoint.origin)} from ${proof.oldSize} to ${proof.checkpoint.size} records`;
  const outcome = new Outcome("consistency proof", title);
  const old = held ?? findHeld(known, proof.checkpoint.origin, proof.oldSize);
  if (!old) {
    throw new Unreadable(
      `this proof shows that a ledger extends its checkpoint of ${proof.oldSize} records: add that checkpoint too`,
    );
  }
  outcome.checkpoint = proof.checkpoint;
  for (const checkpoint of [proof.checkpoint, old]) await checkSignatures(outcome, checkpoint, keys, null);
  if (policy) await countCosignatures(outcome, proof.checkpoint, policy);
  outcome.vouchedFor = true; // the old checkpoint is the one that the person holds
  if (old.origin !== proof.checkpoint.origin) {
    outcome.add("CHECKPOINT_OTHER", null, "origin", old.origin, proof.checkpoint.origin);
  }
  if (old.size !== proof.oldSize) outcome.add("CHECKPOINT_OTHER", null, "size", old.size, proof.oldSize);
  else {
    try {
      await checkConsistency(old.size, proof.checkpoint.size, old.root, proof.checkpoint.root, proof.path);
    } catch (error) {
      if (!(error instanceof Invalid)) throw error;
      outcome.add("PROOF", null, "the tree", "one that begins with the old tree", error);
    }
  }
  if (!outcome.findings.length) {
    outcome.shows.unshift(
      `The ledger extends your checkpoint: its first ${old.size} records are unchanged at ${proof.checkpoint.size}.`,
    );
  }
  outcome.showsNot.push("What the records say: only the roots of the trees are here.", ...ALWAYS_OPEN);
  return outcome;
}

async function checkCheckpoint(checkpoint, { keys, held: given, known, policy }) {
  const title = `${shown(checkpoint.origin)} at ${checkpoint.size} records, root ${toHex(checkpoint.root)}`;
  const outcome = new Outcome("checkpoint", title);
  outcome.checkpoint = checkpoint;
  await checkSignatures(outcome, checkpoint, keys, null);
  if (policy) await countCosignatures(outcome, checkpoint, policy);
  const others = known.filter((one) => one.whole !== checkpoint.whole);
  const held = given ?? findHeld(others, checkpoint.origin, checkpoint.size) ?? others.find((one) => one.origin === checkpoint.origin) ?? null;
  if (held && held.origin === checkpoint.origin && held.size === checkpoint.size) {
    if (same(held.root, checkpoint.root)) outcome.shows.push("It is the same as the checkpoint that you hold.");
    else outcome.add("CHECKPOINT_ROOT", null, "root", toHex(held.root), toHex(checkpoint.root));
    outcome.vouchedFor ||= !outcome.findings.length;
  } else if (held) {
    outcome.showsNot.push(
      `That it goes together with the checkpoint of ${held.size} records that you hold: add the proof that ` +
        "sora-ledger prove --consistency writes.",
    );
  }
  if (!outcome.vouchedFor && !keys.length) outcome.showsNot.push("That a person you trust vouches for it: name their key.");
  outcome.showsNot.push("What the records say: a checkpoint contains only their number and root.", ...ALWAYS_OPEN);
  return outcome;
}

/** Check a timestamp response (`.tsr`) of one of the checkpoints `notes` (bytes): its digest, not who signed it. */
export async function checkTimestamp(blob, notes) {
  const outcome = new Outcome("timestamp", "a timestamp of RFC 3161");
  const stamp = readTimestamp(await bytesOf(blob, 0, MAX_TIMESTAMP_BYTES + 1));
  outcome.title = `SHA-256 ${stamp.digest}`;
  for (const note of notes) {
    if (!(await stampable(note)).has(stamp.digest)) continue;
    const { origin, size } = readCheckpoint(note);
    outcome.shows.push(`It is of the checkpoint of ${shown(origin)} at ${size} records, which you added: the digest is the same.`);
    outcome.showsNot.push(dateNotChecked(stamp));
    return outcome;
  }
  if (notes.length) outcome.add("TIMESTAMP", null, "digest", "a timestamp of a checkpoint that you added", `of ${stamp.digest}`);
  outcome.showsNot.push(`What it is of: it states the time ${stamp.time}. Add the checkpoint that it was made of.`);
  return outcome;
}

/** Check one file: a bundle, a proof or a checkpoint; `Unreadable` or `Invalid` says why it cannot be checked.
 *
 * What the person knows from elsewhere: `keys` (see `readKey`) that must have signed; `held`, the checkpoint (see
 * `readCheckpoint`) that the file must be under; or `known`, checkpoints of which the one of the same size counts;
 * `policy` (see `readPolicy`), whose witnesses have to have cosigned.
 */
export async function checkFile(blob, { keys = [], held = null, known = [], policy = null } = {}) {
  const trusted = { keys, held, known, policy };
  const kind = await kindOf(blob);
  if (kind === "bundle") return checkBundle(blob, trusted);
  const bytes = await bytesOf(blob, 0, MAX_PROOF_BYTES + 1);
  if (kind === "checkpoint") return checkCheckpoint(readCheckpoint(bytes), trusted);
  const proof = readProof(bytes);
  return proof.kind === "consistency" ? checkExtension(proof, trusted) : checkInclusion(proof, trusted);
}

/** Check one record that a server sent, and yield each step: `name`, `ok` (null if it was not possible), `detail`.
 *
 * `evidence` has `record` and `payload` (base64), `bodies`, `path` (hex), `checkpoint` (text), and `extensions`, the
 * consistency proofs from older checkpoints. `held` are checkpoints that the person or this browser knows; `keys`
 * those that the person named.
 */
export async function* checkRecord(position, evidence, { keys = [], held = [] } = {}) {
  const step = async (name, check) => {
    try {
      return { name, ...(await check()) };
    } catch (error) {
      if (!(error instanceof Invalid || error instanceof Unreadable || error instanceof FieldMissing)) throw error;
      return { name, ok: false, detail: error.message };
    }
  };
  let [bytes, record, leaf, checkpoint] = [new Uint8Array(0), null, null, null];
  yield await step("Record", async () => {
    bytes = fromBase64(needKind(evidence.record, "string"));
    const read = strictJson(bytes);
    if (!isRecord(read)) throw new Invalid("not the keys of a record");
    if (read.position !== position) throw new Invalid(`the record says that it is at position ${read.position}`);
    record = read;
    return { ok: true, detail: `${bytes.length} bytes of canonical JSON: ${shown(read.type)} at position ${position}` };
  });
  yield await step("Leaf", async () => {
    leaf = await leafOf(bytes);
    return { ok: record !== null, detail: `SHA-256 of the byte 00 and the record: ${toHex(leaf)}` };
  });
  yield await step("Payload", () => checkPayload(record, evidence));
  yield await step("Private text", () => checkTexts(evidence));
  yield await step("Tree", async () => {
    checkpoint = readCheckpoint(encoder.encode(needKind(evidence.checkpoint, "string")));
    const path = itemsOf(evidence.path).map((item) => {
      if (!HEX.test(item)) throw new Invalid("a path with something else than hashes");
      return fromHex(item);
    });
    const root = await rootOfPath(leaf, position - 1, checkpoint.size, path);
    const expected = toHex(checkpoint.root);
    if (!same(root, checkpoint.root)) throw new Invalid(`the record leads to the root ${toHex(root)}, not to ${expected}`);
    return { ok: true, detail: `${path.length} hashes lead from the leaf to the root ${expected} of ${checkpoint.size} records` };
  });
  for (const old of held) {
    const name = `Checkpoint of ${old.size} records that this browser remembers`;
    yield await step(name, () => checkHeld(old, checkpoint, evidence));
  }
  if (checkpoint && !held.length) {
    const detail = "this browser remembers no checkpoint of this ledger yet, so a ledger made anew would not show";
    yield { name: "Remembered checkpoint", ok: null, detail };
  }
  yield await step("Signature", () => checkVouched(position, checkpoint, held, keys));
}

async function checkPayload(record, evidence) {
  if (!record) return { ok: null, detail: "not checked: there is no record" };
  const payload = fromBase64(needKind(evidence.payload, "string"));
  const found = toHex(await sha256(payload));
  if (found !== record.payload_sha256) {
    throw new Invalid(`the payload has the SHA-256 ${found}, the record says ${shown(record.payload_sha256)}`);
  }
  strictJson(payload);
  return { ok: true, detail: `${payload.length} bytes with the SHA-256 in the record: ${found}` };
}

async function checkTexts(evidence) {
  const committed = commitmentsIn(strictJson(fromBase64(needKind(evidence.payload, "string"))));
  const count = committed.size;
  for (const body of itemsOf(evidence.bodies)) {
    const field = committed.get(body.commitment);
    if (field === undefined || field !== body.field) {
      throw new Invalid(`a text for ${shown(body.field)} that the record does not commit to`);
    }
    if (!SALT.test(body.salt) || (await commitmentOf(fromHex(body.salt), field, body.text)) !== body.commitment) {
      throw new Invalid(`the text of ${shown(field)} is not the one that was recorded`);
    }
    committed.delete(body.commitment);
  }
  if (!count) return { ok: true, detail: "the payload contains none" };
  const withheld = [...committed.values()].map(shown).join(", ");
  const rest = withheld ? `; erased or not shown, their commitments are part of the checked payload: ${withheld}` : "";
  return { ok: true, detail: `${count - committed.size} of ${count} match their commitments${rest}` };
}

async function checkHeld(old, checkpoint, evidence) {
  if (!checkpoint) return { ok: null, detail: "not checked: there is no checkpoint" };
  if (old.origin !== checkpoint.origin) throw new Invalid(`the server shows another ledger, ${shown(checkpoint.origin)}`);
  if (old.size > checkpoint.size) {
    throw new Invalid(`the server's ledger has only ${checkpoint.size} records: its end was cut off`);
  }
  const proof = itemsOf(evidence.extensions).find((item) => String(item.old_size) === String(old.size));
  if (!proof) throw new Invalid("the server sent no proof that its ledger extends this checkpoint");
  const path = itemsOf(proof.path).map((item) => {
    if (!HEX.test(item)) throw new Invalid("a path with something else than hashes");
    return fromHex(item);
  });
  await checkConsistency(old.size, checkpoint.size, old.root, checkpoint.root, path);
  return { ok: true, detail: `the ledger extends it: its first ${old.size} records are unchanged` };
}

async function checkVouched(position, checkpoint, held, keys) {
  if (!checkpoint) return { ok: null, detail: "not checked: there is no checkpoint" };
  if (!keys.length) return { ok: null, detail: "not checked: this browser remembers no key; Check a file has a field for it" };
  const signed = [];
  for (const one of [checkpoint, ...held]) {
    const names = await signersOf(one, keys);
    if (names.length) signed.push([one, names]);
  }
  const covering = signed.find(([one]) => one.size >= BigInt(position));
  if (covering) {
    return { ok: true, detail: `${covering[1].map(shown).join(", ")} signed the checkpoint of ${covering[0].size} records` };
  }
  const detail = signed.length
    ? `the checkpoint that ${shown(signed[0][1][0])} signed has ${signed[0][0].size} records, and this record is later`
    : "no checkpoint here is signed with the key that this browser remembers: drop a signed one in Check a file";
  return { ok: null, detail };
}
