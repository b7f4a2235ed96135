// A daemon: registers a fresh key for SIDEBAND_API_KEY, serves every client until standard input ends.

import { call, tell } from "./control.mjs";
import * as sbrp from "./sbrp.mjs";
import { Peer } from "./sbp.mjs";
import { connect } from "./websocket.mjs";

const identity = sbrp.generateIdentity();
const identityPublicKey = sbrp.publicBytes(identity).toString("base64");
const made = await call("daemon.register", process.env.SIDEBAND_API_KEY, { identityPublicKey });
const sessions = new Map();

const methods = {
  echo: (params) => params,
  fail: () => {
    throw new Error("on purpose");
  },
  "emit back": (data, peer) => peer.emit("emitted", data),
};

const connection = await connect(made.relayUrl, made.presenceToken, (message) => {
  const { type, sessionId, payload } = sbrp.decodeFrame(message);
  if (type === sbrp.HANDSHAKE_INIT && !sessions.has(sessionId)) accept(sessionId, payload);
  else if (type === sbrp.DATA) receive(sessionId, payload);
  else if (type === sbrp.PING) {
    tell({ ping: payload.length });
    connection.send(sbrp.encodeFrame(sbrp.PONG, 0n, payload));
  } else if (type === sbrp.CONTROL && payload.readUInt16BE() === sbrp.SESSION_ENDED) {
    sessions.delete(sessionId);
    tell({ ended: sessions.size });
  }
});
tell({ ready: sbrp.fingerprint(sbrp.publicBytes(identity)) });

function accept(sessionId, init) {
  const { accept, session } = sbrp.answerInit(init, made.daemonId, identity);
  connection.send(sbrp.encodeFrame(sbrp.HANDSHAKE_ACCEPT, sessionId, accept));
  const send = (frame) => connection.send(sbrp.encodeFrame(sbrp.DATA, sessionId, session.seal(frame)));
  const peer = new Peer("node-daemon", send, {
    methods,
    onEvent: (name, data) => tell({ event: [name, data] }),
    onClose: (reason) => tell({ farewell: reason }),
  });
  sessions.set(sessionId, { session, peer });
  peer.ready.then((hello) => tell({ client: hello.peerId }));
}

function receive(sessionId, payload) {
  const held = sessions.get(sessionId);
  if (held === undefined) return;
  try {
    held.peer.receive(held.session.open(payload));
  } catch (error) {
    tell({ refused: error.code ?? error.message });
    sessions.delete(sessionId);
    connection.send(sbrp.encodeFrame(sbrp.SIGNAL, sessionId, Buffer.from([sbrp.SIGNAL_CLOSE, 4])));
  }
}

process.stdin.resume();
process.stdin.on("end", () => connection.close(1000));
tell({ closed: await connection.closed });
