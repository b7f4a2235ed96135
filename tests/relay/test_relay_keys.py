"""The keys of the issuer, away and rotated, as those who connect to a relay see it."""

import pytest

from sideband._native import encode_data
from sideband.errors import TransportError
from sideband.jwks import FetchedKeys


class Keys:
    """A JWKS endpoint that can be away."""

    def __init__(self, issuer) -> None:
        self.issuer = issuer
        self.away = False

    async def __call__(self) -> object:
        if self.away:
            raise OSError("away")
        return self.issuer.jwks()


async def test_jwks_unreachable_at_start_and_later(start_relay, clock) -> None:
    running = await start_relay()
    keys = Keys(running.issuer)
    keys.away = True
    running = await start_relay(issuer=running.issuer, keys=FetchedKeys(keys, clock=clock.monotonic))
    with pytest.raises(TransportError) as caught:
        await running.connect(running.issuer.daemon())
    assert (caught.value.http_status, caught.value.retry_after) == (503, 10)
    keys.away = False
    clock.now += 10
    daemon = await running.daemon()
    keys.away = True
    clock.now += 600
    client = await running.client(sid=1)
    clock.now += 400
    with pytest.raises(TransportError) as caught:
        await running.connect(running.issuer.client())
    assert caught.value.http_status == 503
    await client.send(encode_data(1, bytes(28)))
    assert await daemon.receive() == encode_data(1, bytes(28))


async def test_a_key_rotated_under_load_refuses_nobody(start_relay, clock) -> None:
    running = await start_relay()
    old = running.issuer
    new = type(old)(clock.unix, kid="k2")
    published = [old]

    async def fetch() -> object:
        return {"keys": [key for issuer in published for key in issuer.jwks()["keys"]]}

    running = await start_relay(issuer=old, keys=FetchedKeys(fetch, clock=clock.monotonic))
    daemon = await running.daemon()
    signing = old
    for n in range(60):
        if n == 10:
            published = [old, new]
        if n == 20:
            signing = new
        if n == 50:
            published = [new]
        client = await running.connect(signing.client())
        clock.now += 15
        await client.close()
    assert running.relay.stats.refused == {}
    clock.now += 301
    with pytest.raises(TransportError) as caught:
        await running.connect(old.client())
    assert caught.value.http_status == 401
    assert not daemon.closed
