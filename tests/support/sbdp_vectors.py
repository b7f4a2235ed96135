"""Write tests/vectors/sbdp.json: `python -m tests.support.sbdp_vectors`.

Everything in it comes from tests/support/sbdp_by_hand.py, which shares no code with `sideband`.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import msgpack
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.support.sbdp_by_hand import CLOSE, DATA, NEXT_KEY, PING, PONG, Records, Side, prologue

PATH = Path(__file__).parents[1] / "vectors" / "sbdp.json"
SOURCE = (
    "Made for this project by tests/support/sbdp_vectors.py from docs/protocol/sbdp.md, by an implementation in Python "
    "of its own; not from a public set. Everything is hex but names, transports and numbers. The handshake alone has "
    "public vectors: noise-xx.json."
)
BINDINGS = {
    "tcp": b"",
    "memory": b"",
    "ws": b"",
    "quic": hashlib.sha256(b"a certificate").digest(),
    "webrtc": b"".join(sorted(hashlib.sha256(text).digest() for text in (b"one certificate", b"another"))),
}
# As with limits of three records under a key: two, then the next-key record.
FROM_INITIATOR = [
    (DATA, b""),
    (DATA, bytes(range(256))),
    (NEXT_KEY, b""),
    (PING, b"12345678"),
    (DATA, b"under the next key"),
    (NEXT_KEY, b""),
    (CLOSE, b"\x00\x00the end"),
]
FROM_RESPONDER = [(PONG, b"12345678"), (DATA, b"answer"), (NEXT_KEY, b""), (DATA, b"more")]


def seed(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def vectors() -> dict[str, Any]:
    """Return the content of the file."""
    return {
        "source": SOURCE,
        "prologues": [
            {"transport": name, "binding": binding.hex(), "prologue": prologue(name, binding).hex()}
            for name, binding in BINDINGS.items()
        ],
        "sessions": [_session("tcp", signed=False, caps=()), _session("webrtc", signed=True, caps=("example/1",))],
    }


def _session(transport: str, *, signed: bool, caps: tuple[str, ...]) -> dict[str, Any]:
    bound_to = prologue(transport, BINDINGS[transport])
    told: dict[str, Any] = {"transport": transport, "prologue": bound_to.hex()}
    sides = []
    for role, name in (("initiator", "laptop"), ("responder", "Studio Süd")):
        static, ephemeral, signer = (seed(f"{transport} {role} {what}") for what in ("static", "ephemeral", "ed25519"))
        sides.append(
            Side(
                name,
                initiator=role == "initiator",
                static=static,
                ephemeral=ephemeral,
                bound_to=bound_to,
                signer=Ed25519PrivateKey.from_private_bytes(signer) if signed else None,
                caps=caps,
            )
        )
        told[role] = {"name": name, "static": static.hex(), "ephemeral": ephemeral.hex(), "caps": list(caps)}
        if signed:
            told[role]["ed25519"] = signer.hex()
    one, two = sides
    messages = [one.first()]
    hashes = [one.noise.hash]
    messages.append(two.second(messages[0]))
    hashes.append(two.noise.hash)
    third, from_responder = one.third(messages[1])
    messages.append(third)
    from_initiator = two.take_third(third)
    assert one.noise.hash == two.noise.hash
    hashes.append(one.noise.hash)
    payloads = [b"", msgpack.packb(from_responder), msgpack.packb(from_initiator)]
    told["messages"] = [
        {"message": message.hex(), "payload": payload.hex(), "hash": hashed.hex()}
        for message, payload, hashed in zip(messages, payloads, hashes, strict=True)
    ]
    told["keys"] = [one.sending.key.hex(), two.sending.key.hex()]
    told["records"] = {
        "from_initiator": [_record(one.sending, *record) for record in FROM_INITIATOR],
        "from_responder": [_record(two.sending, *record) for record in FROM_RESPONDER],
    }
    return told


def _record(sending: Records, kind: int, content: bytes) -> dict[str, Any]:
    told = {"type": kind, "content": content.hex(), "key": sending.key.hex(), "nonce": sending.nonce().hex()}
    return told | {"message": (b"\x10" + sending.seal(kind, content)).hex()}


if __name__ == "__main__":
    PATH.write_text(json.dumps(vectors(), indent=2, ensure_ascii=False) + "\n")
