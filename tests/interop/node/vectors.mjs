// Checks this implementation against the reference vectors: the folder is the first argument.

import { readFileSync } from "node:fs";
import { strict as assert } from "node:assert";
import { join } from "node:path";
import * as sbrp from "./sbrp.mjs";

const load = (name) => JSON.parse(readFileSync(join(process.argv[2], name), "utf-8"));
const bytes = (hex) => Buffer.from(hex, "hex");
let checked = 0;

for (const one of load("sbrp-handshake.json").cases) {
  const ephemeral = sbrp.privateKey("X25519", bytes(one.clientEphemeralPrivateKey));
  assert.equal(sbrp.publicBytes(ephemeral).toString("hex"), one.handshakeInitPayload);
  const accept = bytes(one.handshakeAcceptPayload);
  const { identityKey, session } = sbrp.finishHandshake(accept, one.daemonId, null, ephemeral);
  assert.equal(sbrp.fingerprint(identityKey), one.fingerprint);
  assert.equal(session._sendKey.toString("hex"), one.clientToDaemon);
  assert.equal(session._receiveKey.toString("hex"), one.daemonToClient);
  checked += 1;
}

const messages = load("sbrp-data.json");
const [up, down] = [bytes(messages.keys.clientToDaemon), bytes(messages.keys.daemonToClient)];
const client = new sbrp.Session(up, sbrp.CLIENT_TO_DAEMON, down, sbrp.DAEMON_TO_CLIENT);
const daemon = new sbrp.Session(down, sbrp.DAEMON_TO_CLIENT, up, sbrp.CLIENT_TO_DAEMON);
for (const step of messages.conversation) {
  const [from, to] = step.direction === "clientToDaemon" ? [client, daemon] : [daemon, client];
  const payload = from.seal(bytes(step.plaintext));
  assert.equal(payload.toString("hex"), step.payload);
  assert.equal(to.open(payload).toString("hex"), step.plaintext);
  checked += 1;
}

console.log(checked);
