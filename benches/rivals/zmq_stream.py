"""Both ends of a stream over pyzmq with CURVE, without a relay between them: blocking PAIR sockets, as is fastest.

Runs in an environment of its own, so it imports nothing of ours but the command loop's format: a line of JSON in, a
line of JSON out.
"""

import json
import os
import sys
import threading
import time
from typing import Any

import zmq  # type: ignore[import-not-found]  # in the rivals' environment, not in ours

__all__: list[str] = []

_PIECE_BYTES = 65_536


def _main() -> None:
    told = json.loads(sys.stdin.readline())
    context = zmq.Context()
    socket = context.socket(zmq.PAIR)
    socket.linger = 0
    if told["role"] == "daemon":
        public, secret = zmq.curve_keypair()
        socket.curve_secretkey = secret
        socket.curve_publickey = public
        socket.curve_server = True
        port = socket.bind_to_random_port("tcp://127.0.0.1")
        print(port, flush=True)
        threading.Thread(target=_serve, args=(socket,), daemon=True).start()
        for _ in sys.stdin:
            print(json.dumps({"key": public.decode()}), flush=True)
        os._exit(0)  # the thread waits in the library
    socket.curve_publickey, socket.curve_secretkey = zmq.curve_keypair()
    socket.curve_serverkey = told["key"].encode()
    socket.connect(told["url"])
    print(0, flush=True)
    for line in sys.stdin:
        command = json.loads(line)
        print(json.dumps({"seconds": _move(socket, command["size"], up=command["up"])}), flush=True)
    context.destroy(linger=0)


def _move(socket: Any, size: int, *, up: bool) -> float:
    began = time.perf_counter()
    socket.send(json.dumps({"size": size, "up": up}).encode())
    if up:
        _send(socket, size)
        socket.recv()  # that everything was read
    else:
        _receive(socket, size)
    return time.perf_counter() - began


def _serve(socket: Any) -> None:
    while True:
        told = json.loads(socket.recv())
        if told["up"]:
            _receive(socket, told["size"])
            socket.send(b"read")
        else:
            _send(socket, told["size"])


def _send(socket: Any, size: int) -> None:
    piece = os.urandom(min(size, _PIECE_BYTES))
    for _ in range(size // len(piece)):
        socket.send(piece, copy=False)
    if rest := size % len(piece):
        socket.send(piece[:rest])


def _receive(socket: Any, size: int) -> None:
    while size > 0:
        size -= len(socket.recv(copy=False))


if __name__ == "__main__":
    _main()
