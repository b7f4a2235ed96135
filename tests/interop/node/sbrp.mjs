// SBRP by docs/protocol/sbrp.md alone: frames, both sides of the handshake, sealed messages.

import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  hkdfSync,
  sign,
  timingSafeEqual,
  verify,
} from "node:crypto";

export const HANDSHAKE_INIT = 0x01;
export const HANDSHAKE_ACCEPT = 0x02;
export const DATA = 0x03;
export const SIGNAL = 0x04;
export const PING = 0x10;
export const PONG = 0x11;
export const CONTROL = 0x20;

export const SIGNAL_CLOSE = 1;

export const SESSION_RESUMED = 0x1002;
export const SESSION_ENDED = 0x1003;

export const CLIENT_TO_DAEMON = 1;
export const DAEMON_TO_CLIENT = 2;
const WINDOW = 128n;

/** A failure with the code that docs/protocol/sbrp.md gives it. */
export class SbrpError extends Error {
  constructor(code) {
    super(code);
    this.code = code;
  }
}

export function encodeFrame(type, sessionId, payload = Buffer.alloc(0)) {
  const header = Buffer.alloc(13);
  header[0] = type;
  header.writeUInt32BE(payload.length, 1);
  header.writeBigUInt64BE(sessionId, 5);
  return Buffer.concat([header, payload]);
}

export function decodeFrame(data) {
  if (data.length < 13 || data.readUInt32BE(1) !== data.length - 13) throw new SbrpError("malformed_frame");
  return { type: data[0], sessionId: data.readBigUInt64BE(5), payload: data.subarray(13) };
}

export function generateIdentity() {
  return generateKeyPairSync("ed25519").privateKey;
}

export function generateEphemeral() {
  return generateKeyPairSync("x25519").privateKey;
}

/** The 32 bytes of the public half of a private key. */
export function publicBytes(privateKey) {
  return Buffer.from(createPublicKey(privateKey).export({ format: "jwk" }).x, "base64url");
}

export function fingerprint(identityKey) {
  return `SHA256:${sha256(identityKey).toString("hex").toUpperCase().match(/../g).join(":")}`;
}

/** The daemon's side: returns the accept's 128 bytes and the session. */
export function answerInit(init, daemonId, identity) {
  if (init.length !== 32) throw new SbrpError("handshake_failed");
  const ephemeral = generateEphemeral();
  const own = publicBytes(ephemeral);
  const signature = sign(null, signedHash(daemonId, init, own), identity);
  const keys = deriveKeys(ephemeral, init, daemonId, init, own, signature);
  return {
    accept: Buffer.concat([publicBytes(identity), own, signature]),
    session: new Session(keys.down, DAEMON_TO_CLIENT, keys.up, CLIENT_TO_DAEMON),
  };
}

/** The client's side: `pinned` is null on first contact. Returns the proven identity key and the session. */
export function finishHandshake(accept, daemonId, pinned, ephemeral) {
  if (accept.length !== 128) throw new SbrpError("handshake_failed");
  const [identityKey, peer, signature] = [accept.subarray(0, 32), accept.subarray(32, 64), accept.subarray(64)];
  if (pinned !== null && !timingSafeEqual(identityKey, pinned)) throw new SbrpError("identity_key_changed");
  const own = publicBytes(ephemeral);
  if (!verify(null, signedHash(daemonId, own, peer), publicKey("Ed25519", identityKey), signature)) {
    throw new SbrpError("handshake_failed");
  }
  const keys = deriveKeys(ephemeral, peer, daemonId, own, peer, signature);
  return { identityKey, session: new Session(keys.up, CLIENT_TO_DAEMON, keys.down, DAEMON_TO_CLIENT) };
}

export class Session {
  constructor(sendKey, sendDirection, receiveKey, receiveDirection) {
    this._sendKey = sendKey;
    this._sendDirection = sendDirection;
    this._receiveKey = receiveKey;
    this._receiveDirection = receiveDirection;
    this._next = 0n;
    this._highest = -1n;
    this._seen = new Set();
  }

  seal(plaintext) {
    const nonce = Buffer.alloc(12);
    nonce.writeUInt32BE(this._sendDirection);
    nonce.writeBigUInt64BE(this._next++, 4);
    const cipher = createCipheriv("chacha20-poly1305", this._sendKey, nonce, { authTagLength: 16 });
    const ciphertext = Buffer.concat([cipher.update(plaintext), cipher.final()]);
    return Buffer.concat([nonce, ciphertext, cipher.getAuthTag()]);
  }

  open(payload) {
    if (payload.length < 28 || payload.readUInt32BE() !== this._receiveDirection) throw new SbrpError("decrypt_failed");
    const sequence = payload.readBigUInt64BE(4);
    if (this._highest - sequence >= WINDOW || this._seen.has(sequence)) throw new SbrpError("sequence_error");
    const nonce = payload.subarray(0, 12);
    const decipher = createDecipheriv("chacha20-poly1305", this._receiveKey, nonce, { authTagLength: 16 });
    decipher.setAuthTag(payload.subarray(-16));
    let plaintext;
    try {
      plaintext = Buffer.concat([decipher.update(payload.subarray(12, -16)), decipher.final()]);
    } catch {
      throw new SbrpError("decrypt_failed");
    }
    this._mark(sequence);
    return plaintext;
  }

  _mark(sequence) {
    this._seen.add(sequence);
    if (sequence > this._highest) this._highest = sequence;
    for (const old of this._seen) if (this._highest - old >= WINDOW) this._seen.delete(old);
  }
}

function signedHash(daemonId, clientKey, daemonKey) {
  return sha256(Buffer.from("sbrp-v1-handshake"), Buffer.from(daemonId), clientKey, daemonKey);
}

function deriveKeys(ephemeral, peerKey, daemonId, clientKey, daemonKey, signature) {
  let shared;
  try {
    // OpenSSL refuses the all-zero secret of a low-order point.
    shared = diffieHellman({ privateKey: ephemeral, publicKey: publicKey("X25519", peerKey) });
  } catch {
    throw new SbrpError("handshake_failed");
  }
  const context = Buffer.from("sbrp-v1-transcript");
  const transcript = sha256(context, Buffer.from(daemonId), clientKey, daemonKey, signature);
  const keys = Buffer.from(hkdfSync("sha256", shared, transcript, "sbrp-session-keys", 64));
  return { up: keys.subarray(0, 32), down: keys.subarray(32) };
}

function publicKey(curve, bytes) {
  return createPublicKey({ key: { kty: "OKP", crv: curve, x: bytes.toString("base64url") }, format: "jwk" });
}

/** The key pair of a private key's 32 bytes, as the vectors give it. */
export function privateKey(curve, bytes) {
  const prefix = { Ed25519: "302e020100300506032b657004220420", X25519: "302e020100300506032b656e04220420" }[curve];
  return createPrivateKey({ key: Buffer.concat([Buffer.from(prefix, "hex"), bytes]), format: "der", type: "pkcs8" });
}

function sha256(...parts) {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part);
  return hash.digest();
}
