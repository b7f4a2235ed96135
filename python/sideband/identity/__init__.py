"""Identity keys, pin stores and trust policies."""

from sideband._native import IdentityKeyPair, NoiseKeyPair, compute_fingerprint
from sideband.identity.file_store import FileIdentityKeyStore
from sideband.identity.key_file import FileIdentity, FileStaticKey
from sideband.identity.keyring_store import KeyringIdentityKeyStore
from sideband.identity.sqlite_store import SqliteIdentityKeyStore
from sideband.identity.store import IdentityKeyStore, MemoryIdentityKeyStore
from sideband.identity.trust import IdentityTrust, TrustOutcome, TrustPolicy, Verdict, decide, follow_statements

__all__ = [
    "FileIdentity",
    "FileIdentityKeyStore",
    "FileStaticKey",
    "IdentityKeyPair",
    "IdentityKeyStore",
    "IdentityTrust",
    "KeyringIdentityKeyStore",
    "MemoryIdentityKeyStore",
    "NoiseKeyPair",
    "SqliteIdentityKeyStore",
    "TrustOutcome",
    "TrustPolicy",
    "Verdict",
    "compute_fingerprint",
    "decide",
    "follow_statements",
    "generate_identity_key_pair",
    "generate_static_key_pair",
]


def generate_identity_key_pair() -> IdentityKeyPair:
    """Return a fresh Ed25519 identity key pair that exists in memory only; `FileIdentity` keeps one."""
    return IdentityKeyPair.generate()


def generate_static_key_pair() -> NoiseKeyPair:
    """Return a fresh X25519 key pair for direct sessions that exists in memory only; `FileStaticKey` keeps one."""
    return NoiseKeyPair.generate()
