"""Encrypted sessions (docs/protocol/sbrp.md, "Data").

A `ClientSession` is what a daemon holds for one client; a `DaemonSession` is what a client holds. Each function takes
the session of the side that may call it and refuses the other with a `TypeError`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sideband._native import ClientSession, DaemonSession, ReplayWindow, Session, SessionKeys
from sideband.secure_relay.frames import EncryptedMessage, message_bytes

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = [
    "ClientSession",
    "DaemonSession",
    "ReplayWindow",
    "clear_client_session",
    "clear_daemon_session",
    "create_client_session",
    "create_daemon_session",
    "decrypt_client_to_daemon",
    "decrypt_daemon_to_client",
    "encrypt_client_to_daemon",
    "encrypt_daemon_to_client",
]


def create_client_session(client_id: str, keys: SessionKeys, replay_window: int = 128) -> ClientSession:
    """Make a daemon's session with a client. The keys are consumed: a second session would repeat nonces.

    Args:
        client_id: a name for the client, for the application's own use.
        keys: what `process_handshake_init` returned.
        replay_window: how many sequence numbers are remembered: 64 to 65,536, a multiple of 64.

    Raises:
        SbrpError: `session_cleared` when the keys already made a session.
        ConfigError: for another window size.
    """
    return ClientSession(client_id, keys, replay_window)


def create_daemon_session(keys: SessionKeys, replay_window: int = 128) -> DaemonSession:
    """Make a client's session with its daemon. The keys are consumed: a second session would repeat nonces.

    Args:
        keys: what `process_handshake_accept` returned.
        replay_window: how many sequence numbers are remembered: 64 to 65,536, a multiple of 64.

    Raises:
        SbrpError: `session_cleared` when the keys already made a session.
        ConfigError: for another window size.
    """
    return DaemonSession(keys, replay_window)


def encrypt_client_to_daemon(session: DaemonSession, plaintext: Buffer) -> bytes:
    """Encrypt on the client, up to 65,508 bytes, and return the Data payload: nonce, ciphertext, tag.

    Raises:
        SbrpError: `payload_too_large` (no sequence number is spent), `session_cleared`, or `sequence_error` when all
            2^64-1 sequence numbers are used up; then the session is cleared.
    """
    return _checked(session, DaemonSession).seal(plaintext)


def decrypt_client_to_daemon(session: ClientSession, message: EncryptedMessage | Buffer) -> bytes:
    """Decrypt on the daemon what a client encrypted.

    Raises:
        SbrpError: `decrypt_failed` (the replay window stays as it was), `sequence_error`, `session_cleared`.
    """
    return _checked(session, ClientSession).open(message_bytes(message))


def encrypt_daemon_to_client(session: ClientSession, plaintext: Buffer) -> bytes:
    """Encrypt on the daemon, up to 65,508 bytes, and return the Data payload: nonce, ciphertext, tag.

    Raises:
        SbrpError: as `encrypt_client_to_daemon`.
    """
    return _checked(session, ClientSession).seal(plaintext)


def decrypt_daemon_to_client(session: DaemonSession, message: EncryptedMessage | Buffer) -> bytes:
    """Decrypt on the client what its daemon encrypted.

    Raises:
        SbrpError: as `decrypt_client_to_daemon`.
    """
    return _checked(session, DaemonSession).open(message_bytes(message))


def clear_client_session(session: ClientSession) -> None:
    """Wipe a daemon's session with a client; it refuses everything with `session_cleared` afterwards."""
    _checked(session, ClientSession).clear()


def clear_daemon_session(session: DaemonSession) -> None:
    """Wipe a client's session with its daemon; it refuses everything with `session_cleared` afterwards."""
    _checked(session, DaemonSession).clear()


def _checked(session: Session, expected: type[Session]) -> Session:
    if not isinstance(session, expected):
        msg = f"expected a {expected.__name__}, got {type(session).__name__}"
        raise TypeError(msg)
    return session
