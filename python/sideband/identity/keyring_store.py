"""Pins in the operating system's keyring (extra `keyring`)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from sideband.daemon_id import check_daemon_id
from sideband.errors import ConfigError, IdentityStoreError
from sideband.identity.pin_record import decode_pin, encode_pin, pin_name
from sideband.identity.store import check_pin

if TYPE_CHECKING:
    from keyring.backend import KeyringBackend

__all__ = ["KeyringIdentityKeyStore"]

_Answer = TypeVar("_Answer")


class KeyringIdentityKeyStore:
    """Pins in the operating system's keyring: Keychain, Credential Locker, Secret Service, KWallet.

    An entry's user name is the SHA-256 of the daemon id, as 64 hex digits, since some keyrings take neither 255 bytes
    nor any character. Calls run in a thread; a locked keyring may ask its user to unlock it.

    Args:
        service: the service the entries are kept under.
        backend: the keyring to use; None takes the one that `keyring` chooses.

    Raises:
        ConfigError: the package `keyring` is not installed.
    """

    def __init__(self, service: str = "sideband-pins", *, backend: KeyringBackend | None = None) -> None:
        try:
            import keyring
            from keyring.errors import KeyringError, PasswordDeleteError
        except ImportError as error:
            msg = "the keyring store needs the package keyring: pip install 'sideband[keyring]'"
            raise ConfigError(msg) from error
        self.service = service
        self._backend = backend if backend is not None else keyring.get_keyring()
        self._keyring_error: type[Exception] = KeyringError
        self._delete_error: type[Exception] = PasswordDeleteError

    async def get(self, daemon_id: str) -> bytes | None:
        """Return the key pinned for `daemon_id`, or None.

        Raises:
            IdentityStoreError: the keyring is locked or fails, or its entry is damaged.
        """
        name = pin_name(check_daemon_id(daemon_id))
        record = await self._call(lambda: self._backend.get_password(self.service, name))
        if record is None:
            return None
        recorded_id, identity_key = decode_pin(f"the keyring entry {self.service}/{name}", record)
        if recorded_id != daemon_id:
            msg = f"the keyring entry {self.service}/{name} holds the pin of another daemon"
            raise IdentityStoreError(msg)
        return identity_key

    async def set(self, daemon_id: str, identity_key: bytes) -> None:
        """Pin `identity_key` for `daemon_id`.

        Raises:
            IdentityStoreError: the keyring is locked or fails, or the key is not 32 bytes.
        """
        record = encode_pin(daemon_id, check_pin(daemon_id, identity_key))
        name = pin_name(daemon_id)
        await self._call(lambda: self._backend.set_password(self.service, name, record))

    async def delete(self, daemon_id: str) -> None:
        """Forget the pin of `daemon_id`; nothing happens when there is none.

        Raises:
            IdentityStoreError: the keyring is locked or fails.
        """
        name = pin_name(check_daemon_id(daemon_id))
        await self._call(lambda: self._delete(name))

    def _delete(self, name: str) -> None:
        try:
            self._backend.delete_password(self.service, name)
        except self._delete_error:
            # The same error stands for "no such entry" and "could not": the entry itself tells which.
            if self._backend.get_password(self.service, name) is not None:
                raise

    async def _call(self, operation: Callable[[], _Answer]) -> _Answer:
        try:
            return await asyncio.to_thread(operation)
        except self._keyring_error as error:
            msg = f"the keyring failed ({type(error).__name__}): {error}; unlock it or choose another pin store"
            raise IdentityStoreError(msg) from error
