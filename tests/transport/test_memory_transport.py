import asyncio

import pytest

from sideband.errors import ConnectionClosed, TransportError
from sideband.transport import Connection, MemoryTransport, memory_pair


async def test_messages_arrive_whole_and_in_order() -> None:
    left, right = memory_pair()
    await left.send_many([b"one", bytearray(b"two"), memoryview(b"three")])
    assert [await right.receive() for _ in range(3)] == [b"one", b"two", b"three"]


async def test_a_mutable_buffer_may_change_after_send() -> None:
    left, right = memory_pair()
    buffer = bytearray(b"before")
    await left.send(buffer)
    buffer[:] = b"after!"
    assert await right.receive() == b"before"


async def test_what_was_sent_before_a_close_is_still_received() -> None:
    left, right = memory_pair()
    await left.send(b"last")
    await left.close(4001, "replaced")
    assert await right.receive() == b"last"
    with pytest.raises(TransportError) as caught:
        await right.receive()
    assert (caught.value.kind, caught.value.close_code, right.close_reason) == ("abnormal_close", 4001, "replaced")
    with pytest.raises(ConnectionClosed):
        await left.receive()


async def test_iteration_ends_at_a_clean_close() -> None:
    left, right = memory_pair()
    await left.send(b"x")
    await left.close()
    assert [message async for message in right] == [b"x"]
    assert right.closed
    assert right.close_code == 1000


async def test_abort_fails_both_ends() -> None:
    left, right = memory_pair()
    await left.send(b"lost")
    left.abort()
    for end in (left, right):
        with pytest.raises(TransportError, match="abnormal_close"):
            await end.receive()
        await end.wait_closed()
        assert end.close_code == 1006


async def test_send_waits_over_the_bound_and_goes_on_when_the_other_side_reads() -> None:
    left, right = memory_pair(bound_bytes=10)
    await left.send(b"0123456789")
    assert left.buffered_bytes == 10
    blocked = asyncio.ensure_future(left.send(b"!"))
    await asyncio.sleep(0)
    assert not blocked.done()
    await right.receive()
    await blocked
    assert await right.receive() == b"!"


async def test_a_blocked_send_ends_with_the_connection() -> None:
    left, right = memory_pair(bound_bytes=1)
    blocked = asyncio.ensure_future(left.send(b"too much"))
    await asyncio.sleep(0)
    await right.close()
    await blocked
    with pytest.raises(ConnectionClosed):
        await left.send(b"more")


@pytest.mark.parametrize("size", [100, 101])
async def test_the_message_limit_at_its_edge(size: int) -> None:
    left, right = memory_pair(max_message_bytes=100)
    if size <= 100:
        await left.send(bytes(size))
        assert len(await right.receive()) == size
    else:
        with pytest.raises(TransportError, match="message_too_large"):
            await left.send(bytes(size))
        assert not left.closed


async def test_listen_connect_and_close() -> None:
    transport = MemoryTransport()

    async def echo(connection: Connection) -> None:
        async for message in connection:
            await connection.send(message)

    listener = await transport.listen("memory://echo", echo)
    with pytest.raises(TransportError, match="already in use"):
        await transport.listen("memory://echo", echo)
    async with await transport.connect(listener.address) as connection:
        await connection.send(b"hello")
        assert await connection.receive() == b"hello"
    open_connection = await transport.connect(listener.address)
    await listener.close()
    assert [message async for message in open_connection] == []
    assert open_connection.close_code == 1001
    with pytest.raises(TransportError, match="connection_refused"):
        await transport.connect(listener.address)


async def test_receive_many_takes_all_that_has_arrived_and_then_tells_the_end() -> None:
    left, right = memory_pair(bound_bytes=4)
    await left.send_many([b"one", b"2"])
    blocked = asyncio.ensure_future(left.send(b"three"))
    await asyncio.sleep(0)
    assert not blocked.done()
    assert await right.receive_many() == [b"one", b"2", b"three"]
    await blocked
    assert left.buffered_bytes == 0
    waiting = asyncio.ensure_future(right.receive_many())
    await asyncio.sleep(0)
    assert not waiting.done()
    await left.send(b"last")
    await left.close()
    assert await waiting == [b"last"]
    with pytest.raises(ConnectionClosed):
        await right.receive_many()
