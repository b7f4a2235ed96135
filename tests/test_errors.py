"""What is true of every error."""

import copy
import pickle

import pytest

from sideband import errors
from sideband.errors import SidebandError

RAISED: list[SidebandError] = [
    errors.BridgeError("refused", "no", http_status=401, code="SHADE_UNAUTHORIZED", retry_after=1.0),
    errors.CloudApiError(409, "taken", code="CONFLICT", retry_after=2.0),
    errors.ConfigError("a size is a number"),
    errors.ConnectionClosed(close_code=1001),
    errors.EnvelopeError("decrypt", "altered"),
    errors.FileTransferError("changed", "a.txt: it changed", remote=True),
    errors.IdentityRefusedError("another key", expected="SHA256:00", received="SHA256:01"),
    errors.IdentityStoreError("open to others"),
    errors.InboxError("SHADE_CONFLICT", "no such cursor", cursor=7),
    errors.NotFoundError("no such account"),
    errors.PeerError("rpc_timeout", "10 s", details={"method": "m"}),
    errors.ProcessError("it ended", exit_code=5),
    errors.RpcPeerError(2000, "on purpose", {"a": [1]}),
    errors.SbdpError("decrypt_failed", "changed"),
    errors.SbpError(1002, "no cid", fatal=False),
    errors.SbrpBatchError("decrypt_failed", "changed", 3, [b"opened"]),
    errors.SbrpError("session_not_found", "of another", session_id=7),
    errors.StoreError("locked"),
    errors.TokenError("expired", "by 31 s", status=401),
    errors.TransportError("timeout", "30 s", http_status=503, close_code=1006, retry_after=1.5),
]


def test_every_class_is_here() -> None:
    classes = {value for name in errors.__all__ if isinstance(value := getattr(errors, name), type)}
    assert {kind for kind in classes if issubclass(kind, SidebandError)} == {SidebandError, *map(type, RAISED)}


@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
def test_an_error_survives_the_way_into_another_process(error: SidebandError) -> None:
    error.add_note("while testing")
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(again) is type(error)
        assert str(again) == str(error)
        assert vars(again) == vars(error)
