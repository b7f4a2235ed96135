// A WebSocket client (RFC 6455) of the little that a relay connection needs: whole binary messages both ways.

import { createHash, randomBytes } from "node:crypto";
import { request } from "node:http";

const GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const BINARY = 0x2;
const CLOSE = 0x8;
const PING = 0x9;
const PONG = 0xa;

/** Open a WebSocket; `url` begins with ws://. Rejects with the status when the server refuses the upgrade. */
export function connect(url, token, onMessage) {
  const key = randomBytes(16).toString("base64");
  const headers = {
    Connection: "Upgrade",
    Upgrade: "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": key,
    Authorization: `Bearer ${token}`,
  };
  return new Promise((resolve, reject) => {
    const opening = request(url.replace(/^ws:/, "http:"), { headers });
    opening.on("error", reject);
    opening.on("response", (response) => reject(new Error(`refused with HTTP ${response.statusCode}`)));
    opening.on("upgrade", (response, socket, head) => {
      const expected = createHash("sha1").update(key + GUID).digest("base64");
      if (response.headers["sec-websocket-accept"] !== expected) {
        socket.destroy();
        reject(new Error("the server did not answer this handshake"));
        return;
      }
      resolve(new Connection(socket, head, onMessage));
    });
    opening.end();
  });
}

class Connection {
  constructor(socket, head, onMessage) {
    this.closeCode = 1006;
    this.closed = new Promise((resolve) => socket.once("close", () => resolve(this.closeCode)));
    this._socket = socket;
    this._onMessage = onMessage;
    this._received = head;
    socket.on("error", () => {});
    socket.on("data", (data) => {
      this._received = Buffer.concat([this._received, data]);
      this._parse();
    });
    this._parse();
  }

  send(message) {
    this._write(BINARY, message);
  }

  close(code) {
    const payload = Buffer.alloc(2);
    payload.writeUInt16BE(code);
    this._write(CLOSE, payload);
  }

  _parse() {
    for (;;) {
      const frame = split(this._received);
      if (frame === null) return;
      this._received = frame.rest;
      if (frame.opcode === BINARY) this._onMessage(frame.payload);
      else if (frame.opcode === PING) this._write(PONG, frame.payload);
      else if (frame.opcode === CLOSE) {
        this.closeCode = frame.payload.length >= 2 ? frame.payload.readUInt16BE() : 1005;
        this._write(CLOSE, frame.payload);
        this._socket.end();
      }
    }
  }

  _write(opcode, payload) {
    if (this._socket.writable) this._socket.write(masked(opcode, payload));
  }
}

function split(data) {
  if (data.length < 2) return null;
  if ((data[0] & 0x70) !== 0 || (data[0] & 0x80) === 0 || (data[1] & 0x80) !== 0) {
    throw new Error("the server compressed, cut or masked a message");
  }
  let size = data[1];
  let start = 2;
  if (size === 126) {
    if (data.length < 4) return null;
    size = data.readUInt16BE(2);
    start = 4;
  } else if (size === 127) {
    if (data.length < 10) return null;
    size = Number(data.readBigUInt64BE(2));
    start = 10;
  }
  const end = start + size;
  if (data.length < end) return null;
  return { opcode: data[0] & 0x0f, payload: data.subarray(start, end), rest: data.subarray(end) };
}

function masked(opcode, payload) {
  const mask = randomBytes(4);
  let head;
  if (payload.length < 126) {
    head = Buffer.from([0x80 | opcode, 0x80 | payload.length]);
  } else if (payload.length < 65536) {
    head = Buffer.alloc(4);
    head.writeUInt16BE(payload.length, 2);
    head[0] = 0x80 | opcode;
    head[1] = 0x80 | 126;
  } else {
    head = Buffer.alloc(10);
    head.writeBigUInt64BE(BigInt(payload.length), 2);
    head[0] = 0x80 | opcode;
    head[1] = 0x80 | 127;
  }
  return Buffer.concat([head, mask, payload.map((byte, at) => byte ^ mask[at % 4])]);
}
