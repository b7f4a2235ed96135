// A client: opens a session with SIDEBAND_DAEMON, calls and emits, tells what came back, and says farewell.

import { call, sessionIdOf, tell } from "./control.mjs";
import * as sbrp from "./sbrp.mjs";
import { Peer } from "./sbp.mjs";
import { connect } from "./websocket.mjs";

const { SIDEBAND_TOKEN: token, SIDEBAND_DAEMON: daemonId, PINNED_KEY: pinned } = process.env;

const made = await call("relay.createSession", token, { daemonId });
const sessionId = sessionIdOf(made.token);
const ephemeral = sbrp.generateEphemeral();
const events = [];
let session = null;
let peer = null;
let opened, resumed;
const open = new Promise((resolve) => (opened = resolve));
const resume = new Promise((resolve) => (resumed = resolve));

const connection = await connect(made.relayUrl, made.token, (message) => {
  const frame = sbrp.decodeFrame(message);
  try {
    if (frame.type === sbrp.HANDSHAKE_ACCEPT) accept(frame.payload);
    else if (frame.type === sbrp.DATA) peer.receive(session.open(frame.payload));
    else if (frame.type === sbrp.CONTROL) receiveControl(frame.payload.readUInt16BE());
  } catch (error) {
    tell({ refused: error.code ?? error.message });
    connection.close(1000);
  }
});
connection.send(sbrp.encodeFrame(sbrp.HANDSHAKE_INIT, sessionId, sbrp.publicBytes(ephemeral)));

function accept(payload) {
  const key = pinned ? Buffer.from(pinned, "base64") : null;
  const proven = sbrp.finishHandshake(payload, daemonId, key, ephemeral);
  session = proven.session;
  tell({ fingerprint: sbrp.fingerprint(proven.identityKey) });
  const send = (frame) => connection.send(sbrp.encodeFrame(sbrp.DATA, sessionId, session.seal(frame)));
  peer = new Peer("node-client", send, {
    methods: { double: (number) => 2 * number },
    onEvent: (name, data) => events.push([name, data]),
  });
  peer.ready.then(opened);
}

function receiveControl(code) {
  tell({ control: code });
  if (code === sbrp.SESSION_RESUMED) resumed();
}

const ended = await Promise.race([open, connection.closed]);
if (typeof ended === "object") {
  tell({ daemon: ended.peerId });
  tell({ echo: await peer.call("echo", { text: "grüße", list: [1, null, true] }) });
  tell({ long: (await peer.call("echo", "x".repeat(60000))).length });
  tell({ failure: await peer.call("fail", null).catch((error) => [error.code, error.message]) });
  tell({ unknown: await peer.call("no such method", null).catch((error) => error.code) });
  tell({ doubled: await peer.call("call back", 21) });
  peer.emit("note", { number: 7 });
  tell({ events: { noted: await peer.call("noted", null), heard: events } });
  await resume;
  tell({ "after the cut": await peer.call("echo", "same keys") });
  peer.close("done"); // The daemon then ends the session, and the relay this connection.
}
tell({ closed: await connection.closed });
