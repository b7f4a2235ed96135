// SBP by docs/protocol/sbp.md alone: frames, the handshake, calls and events, without any optional capability.

import { randomBytes } from "node:crypto";

const CONTROL = 0;
const MESSAGE = 1;
const HANDSHAKE = 0;
const PING = 1;
const PONG = 2;
const CLOSE = 3;
const HAS_TIMESTAMP = 1;
const UNSUPPORTED_METHOD = 1101;
const APPLICATION_ERROR = 2000;

/** One end of a session. `send` takes frames; `receive` is given them. */
export class Peer {
  constructor(peerId, send, { methods = {}, onEvent = () => {}, onClose = () => {} } = {}) {
    this.ready = new Promise((resolve, reject) => Object.assign(this, { _setReady: resolve, _refuse: reject }));
    this._send = send;
    this._methods = methods;
    this._onEvent = onEvent;
    this._onClose = onClose;
    this._calls = new Map();
    const hello = { protocol: "sideband", version: "1", peerId };
    this._control(HANDSHAKE, Buffer.from(JSON.stringify(hello)));
  }

  /** Call a method of the other side; rejects with its error's code and message. */
  call(method, params) {
    const cid = randomBytes(16);
    const envelope = { t: "r", m: method, cid: cid.toString("hex"), p: params };
    const answer = new Promise((resolve, reject) => this._calls.set(envelope.cid, { resolve, reject }));
    this._message("rpc", envelope, cid);
    return answer;
  }

  emit(name, data) {
    this._message("event", { t: "N", e: name, d: data });
  }

  close(reason) {
    this._control(CLOSE, Buffer.from(reason));
  }

  receive(frame) {
    const [kind, flags] = frame;
    const body = frame.subarray(flags & HAS_TIMESTAMP ? 26 : 18);
    if (kind === CONTROL) this._receiveControl(body[0], body.subarray(1));
    else if (kind === MESSAGE) this._receiveMessage(body);
    else throw new Error(`an unexpected frame of kind ${kind}: ${body.subarray(6)}`);
  }

  _receiveControl(op, data) {
    if (op === HANDSHAKE) {
      const hello = JSON.parse(data);
      if (hello.protocol === "sideband" && hello.version === "1") this._setReady(hello);
      else this._refuse(new Error(`the other side speaks ${hello.protocol} ${hello.version}`));
    } else if (op === PING) this._control(PONG, data);
    else if (op === CLOSE) this._onClose(data.toString());
  }

  _receiveMessage(body) {
    const end = 4 + body.readUInt32LE();
    const subject = body.subarray(4, end).toString();
    const envelope = JSON.parse(body.subarray(end));
    if (subject === "event") this._onEvent(envelope.e, envelope.d);
    else if (envelope.t === "r") this._answer(envelope);
    else this._settle(envelope);
  }

  _settle(envelope) {
    const call = this._calls.get(envelope.cid);
    this._calls.delete(envelope.cid);
    if (envelope.t === "R") call.resolve(envelope.result);
    else call.reject(Object.assign(new Error(envelope.message), { code: envelope.code }));
  }

  _answer({ m: method, p: params, cid }) {
    const handler = this._methods[method];
    if (handler === undefined) {
      this._message("rpc", { t: "E", cid, code: UNSUPPORTED_METHOD, message: `there is no ${method}` });
      return;
    }
    try {
      this._message("rpc", { t: "R", cid, result: handler(params, this) });
    } catch (error) {
      this._message("rpc", { t: "E", cid, code: APPLICATION_ERROR, message: error.message });
    }
  }

  _control(op, data) {
    this._send(Buffer.concat([Buffer.from([CONTROL, 0]), randomBytes(16), Buffer.from([op]), data]));
  }

  _message(subject, envelope, id = randomBytes(16)) {
    const size = Buffer.alloc(4);
    size.writeUInt32LE(subject.length);
    const parts = [Buffer.from([MESSAGE, 0]), id, size, Buffer.from(subject), Buffer.from(JSON.stringify(envelope))];
    this._send(Buffer.concat(parts));
  }
}
