"""One stream without a relay: ours over TCP and QUIC against asyncio's own TCP and TLS 1.3."""

import asyncio
import ssl
import statistics
import subprocess
import sys
import tempfile
import time

from benches.certificate import make_certificate
from benches.direct_receiver import CHUNK, LAPTOP, STUDIO
from sideband import direct
from sideband.bench.measuring import Aim, Settings, SuiteResult, Table
from sideband.identity import MemoryIdentityKeyStore, NoiseKeyPair

__all__ = ["TITLE", "run"]

TITLE = "Direct sessions"

PLAIN, TLS, TCP, QUIC = "asyncio TCP, nothing encrypted", "asyncio TLS 1.3", "ours, TCP", "ours, QUIC"
_KINDS = {PLAIN: "plain", TLS: "tls", TCP: "tcp", QUIC: "quic"}
_QUIC_SHARE = 16
"""QUIC in Python moves a fraction of what TCP does; it is measured with this part of the bytes."""
_NOTE = "Two processes on one machine over loopback; one stream, written in pieces of 256 KiB."


def run(settings: Settings) -> SuiteResult:
    """Measure every way in turns."""
    with tempfile.TemporaryDirectory() as folder:
        certificate, authority = make_certificate(folder)
        receivers = {name: _receiver(kind, certificate) for name, kind in _KINDS.items()}
        try:
            samples: dict[str, list[float]] = {name: [] for name in _KINDS}
            for name, receiver in receivers.items():
                _moved(name, receiver, min(_size(name, settings), 8 << 20), authority)
            for _ in range(settings.rounds):
                for name, receiver in receivers.items():
                    samples[name].append(_moved(name, receiver, _size(name, settings), authority))
        finally:
            for process, _ in receivers.values():
                process.terminate()
                process.wait()
                if process.stdout is not None:
                    process.stdout.close()
    rates = {name: _size(name, settings) / statistics.median(seconds) for name, seconds in samples.items()}
    rows = [[name, f"{rate / 1e6:,.0f} MB/s", f"{rate / rates[PLAIN]:.2f}"] for name, rate in rates.items()]
    result = SuiteResult(
        tables=[Table("One stream", ["way", "rate", "against plain TCP"], rows, _NOTE)],
        samples={f"{name}, seconds": seconds for name, seconds in samples.items()},
    )
    result.aims += [
        Aim("One direct stream over TCP, rate against plain asyncio TCP", rates[TCP] / rates[PLAIN], 0.6),
        Aim("One direct stream over TCP, rate against asyncio TLS 1.3", rates[TCP] / rates[TLS], 1.0),
    ]
    return result


def _size(name: str, settings: Settings) -> int:
    return settings.stream_bytes // _QUIC_SHARE if name == QUIC else settings.stream_bytes


def _receiver(kind: str, certificate: str) -> tuple["subprocess.Popen[str]", str]:
    command = [sys.executable, "-m", "benches.direct_receiver", kind, *([certificate] if kind == "tls" else [])]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def _moved(name: str, receiver: tuple["subprocess.Popen[str]", str], size: int, authority: str) -> float:
    process, address = receiver
    send = (
        _send_plain(address, size, authority if name == TLS else None) if name in (PLAIN, TLS) else _send(address, size)
    )
    seconds = asyncio.run(send)
    assert process.stdout is not None
    came = process.stdout.readline().split()
    if int(came[0]) != size:
        raise RuntimeError(f"{name}: {size} bytes were sent, {came[0]} came")
    return seconds


async def _send_plain(address: str, size: int, authority: str | None) -> float:
    port = int(address.rpartition(":")[2])
    context = None if authority is None else ssl.create_default_context(cadata=authority)
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    piece = bytes(CHUNK)
    begun = time.perf_counter()
    writer.write(size.to_bytes(8, "big"))
    for _ in range(size // CHUNK):
        writer.write(piece)
        await writer.drain()
    await reader.readexactly(1)
    took = time.perf_counter() - begun
    writer.close()
    await writer.wait_closed()
    return took


async def _send(address: str, size: int) -> float:
    key, host = NoiseKeyPair.from_private_bytes(LAPTOP), NoiseKeyPair.from_private_bytes(STUDIO)
    pins = MemoryIdentityKeyStore({"studio": host.public_key})
    piece = bytes(CHUNK)
    async with direct.connect(address, name="laptop", key=key, remote_name="studio", identity_key_store=pins) as peer:
        stream = await peer.open_stream("take")
        begun = time.perf_counter()
        for _ in range(size // CHUNK):
            await stream.write(piece)
        await stream.end()
        return time.perf_counter() - begun
