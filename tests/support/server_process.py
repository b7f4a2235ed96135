"""Real servers of other projects as processes of a test: NATS and nginx, from the distribution's packages."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


class ServerProcess:
    """A server on a port of this machine; stopping is killing, as in a crash."""

    def __init__(self, command: Sequence[str | Path], port: int, log: Path) -> None:
        self._command = [str(word) for word in command]
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self.port = port

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"{self._command[0]} did not start: {self._log.read_text()[-2000:]}")
            time.sleep(0.02)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    async def restart(self) -> None:
        await asyncio.to_thread(self.kill)
        await asyncio.to_thread(self.start)


def nats_server(folder: Path) -> ServerProcess:
    port = free_port()
    config = folder / "nats.conf"
    config.write_text(
        f'listen: "127.0.0.1:{port}"\nmax_payload: 2MB\njetstream {{ store_dir: "{folder / "jetstream"}" }}\n'
    )
    return ServerProcess(["nats-server", "-c", config], port, folder / "nats.log")


def nginx(folder: Path, upstream: int, location: str) -> ServerProcess:
    """A reverse proxy before `upstream`; `location` is what a block for all paths says beside proxy_pass."""
    port = free_port()
    for name in ("body", "proxy", "fastcgi", "uwsgi", "scgi"):
        (folder / f"nginx-{name}").mkdir(exist_ok=True)
    config = folder / "nginx.conf"
    config.write_text(
        f"""daemon off; master_process off; worker_processes 1; pid {folder}/nginx.pid; error_log stderr;
        events {{ worker_connections 256; }}
        http {{
          access_log off;
          client_body_temp_path {folder}/nginx-body; proxy_temp_path {folder}/nginx-proxy;
          fastcgi_temp_path {folder}/nginx-fastcgi; uwsgi_temp_path {folder}/nginx-uwsgi;
          scgi_temp_path {folder}/nginx-scgi;
          map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
          server {{
            listen 127.0.0.1:{port}; client_max_body_size 2m;
            location / {{ proxy_pass http://127.0.0.1:{upstream}; {location} }}
          }}
        }}"""
    )
    return ServerProcess(["nginx", "-c", config], port, folder / "nginx.log")
