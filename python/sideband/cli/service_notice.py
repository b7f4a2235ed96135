"""Tells systemd how a service does, by its own small protocol (sd_notify(3)), and the journal how bad a line is."""

from __future__ import annotations

import logging
import os
import socket

from typing_extensions import override

__all__ = ["JournalFormatter", "notify_service_manager"]

_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (logging.NOTSET, 7))


def notify_service_manager(*assignments: str) -> bool:
    """Send assignments such as `READY=1`; tell whether there was a service manager to send them to."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        # A leading @ stands for the zero byte of an abstract address.
        channel.sendto("\n".join(assignments).encode(), "\0" + address[1:] if address[0] == "@" else address)
    return True


class JournalFormatter(logging.Formatter):
    """Puts the priority before each line, as the journal reads it (sd-daemon(3)); it knows the time itself."""

    @override
    def format(self, record: logging.LogRecord) -> str:
        priority = next(number for level, number in _PRIORITIES if record.levelno >= level)
        return "\n".join(f"<{priority}>{line}" for line in super().format(record).splitlines())
