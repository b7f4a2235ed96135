"""Client and daemon endpoints over a model of the relay that loses, repeats, reorders and forges."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sideband._native import IdentityKeyPair, decode_frame, encode_control
from sideband.errors import SbrpErrorCode
from sideband.secure_relay.client_endpoint import ClientEndpoint, ClientState
from sideband.secure_relay.client_events import AcceptVerified, DataReceived, Ended, Failed
from sideband.secure_relay.daemon_endpoint import DaemonEndpoint
from sideband.secure_relay.daemon_events import SessionData, SessionEnded, SessionOpened, SessionPaused, SessionResumed

ID = "d_model"
SIDS = st.integers(1, 3)


def control(code: SbrpErrorCode, session_id: int) -> bytes:
    assert code.wire is not None
    return encode_control(session_id, code.wire)


class Model(RuleBasedStateMachine):
    """What arrives was sent, once at most and unchanged, whatever happens on the way; nothing ends without a reason."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.identity = IdentityKeyPair.generate()
        self.daemon = DaemonEndpoint(ID, self.identity, clock=lambda: self.now)
        self.daemon.on_reconnected()
        self.clients: dict[int, ClientEndpoint] = {}
        self.up: list[tuple[int, bytes]] = []
        self.down: dict[int, list[bytes]] = {}
        self.next_sid = 1
        self.alias: dict[int, int] = {}
        self.sent: dict[tuple[int, str], set[bytes]] = {}
        self.got: dict[tuple[int, str], list[bytes]] = {}
        self.forged: set[int] = set()
        self.counter = 0

    # --- the application ---------------------------------------------------------------------------------------------

    @initialize()
    def two_sessions(self) -> None:
        self.open_at(1)
        self.open_at(2)

    @rule(slot=SIDS)
    def open(self, slot: int) -> None:
        self.open_at(slot)

    def open_at(self, slot: int) -> None:
        if slot in self.alias or not self.daemon.connected:
            return
        sid, self.next_sid = self.next_sid, self.next_sid + 1
        client = ClientEndpoint(ID, sid, clock=lambda: self.now)
        self.daemon_takes(client.start())
        self.relay_takes()
        if not self.down.get(sid):
            return
        (verified,) = client.receive(self.down[sid].pop(0))
        assert isinstance(verified, AcceptVerified)
        assert verified.identity_key == self.identity.public_key
        client.establish()
        self.daemon.confirm(sid)
        self.clients[sid] = client
        self.alias[slot] = sid

    @rule(slot=SIDS, count=st.integers(1, 5), arrives=st.booleans())
    def client_sends(self, slot: int, count: int, arrives: bool) -> None:
        if arrives:
            self.deliver_up(20)
        client = self.at(slot)
        if client is None or client.state is not ClientState.ACTIVE:
            return
        self.up += [(client.session_id, frame) for frame in client.seal(self.texts(client.session_id, "up", count))]

    @rule(slot=SIDS, count=st.integers(1, 5), arrives=st.booleans())
    def daemon_sends(self, slot: int, count: int, arrives: bool) -> None:
        if arrives:
            self.deliver_down(slot, 20)
        client = self.at(slot)
        if client is None or not self.daemon.connected or client.session_id not in self.daemon.session_ids:
            return
        sid = client.session_id
        self.down.setdefault(sid, []).extend(self.daemon.seal(sid, self.texts(sid, "down", count)))

    # --- the network -------------------------------------------------------------------------------------------------

    @rule(count=st.integers(1, 20))
    def deliver_up(self, count: int) -> None:
        if self.daemon.connected:
            batch, self.up = self.up[:count], self.up[count:]
            self.daemon_takes(*(frame for sid, frame in batch if sid in self.daemon.session_ids))
            self.relay_takes()

    @rule(slot=SIDS, count=st.integers(1, 20))
    def deliver_down(self, slot: int, count: int) -> None:
        client = self.at(slot)
        if client is not None:
            queue = self.down.get(client.session_id, [])
            self.client_takes(client, queue[:count])
            del queue[:count]

    @rule(data=st.data())
    @precondition(lambda self: self.up)
    def disturb_up(self, data: Any) -> None:
        self.disturb(self.up, data)

    @rule(slot=SIDS, data=st.data())
    def disturb_down(self, slot: int, data: Any) -> None:
        queue = self.down.get(self.alias.get(slot, 0))
        if queue:
            self.disturb(queue, data)

    @rule(data=st.data())
    @precondition(lambda self: self.up)
    def forge(self, data: Any) -> None:
        index = data.draw(st.integers(0, len(self.up) - 1))
        sid, frame = self.up[index]
        byte = data.draw(st.integers(25, len(frame) - 1))
        self.up[index] = sid, frame[:byte] + bytes([frame[byte] ^ 0x10]) + frame[byte + 1 :]
        self.forged.add(sid)

    @rule(back=st.booleans())
    def cut(self, back: bool) -> None:
        if back:
            self.come_back()
            return
        if not self.daemon.connected:
            return
        events = self.daemon.on_disconnected()
        assert {type(event) for event in events} <= {SessionPaused}
        self.up.clear()
        for sid, client in self.clients.items():
            self.down.setdefault(sid, []).append(control(SbrpErrorCode.SESSION_PAUSED, sid))
            self.client_takes(client, self.down[sid])
            self.down[sid].clear()

    def come_back(self) -> None:
        if self.daemon.connected:
            return
        assert self.daemon.on_reconnected() == []
        held = set(self.daemon.session_ids)
        ready = {decode_frame(frame)[1] for frame in self.daemon.take_frames()}
        assert ready == held, "every session that is held is readied"
        for sid, client in self.clients.items():
            if sid in held:
                assert self.daemon.receive(control(SbrpErrorCode.SESSION_PENDING, sid)) == [SessionResumed(sid)]
                self.client_takes(client, [control(SbrpErrorCode.SESSION_RESUMED, sid)])

    @rule(seconds=st.floats(0.1, 100))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        assert self.daemon.on_timer() == [], "nothing is overdue: all handshakes are done and all returns confirmed"

    # --- what must hold ----------------------------------------------------------------------------------------------

    @invariant()
    def what_arrives_was_sent_once(self) -> None:
        for key, texts in self.got.items():
            assert len(texts) == len(set(texts))
            assert set(texts) <= self.sent[key]

    @invariant()
    def sessions_end_only_for_a_forgery(self) -> None:
        for sid, client in self.clients.items():
            if sid not in self.forged:
                assert not client.ended
                assert sid in self.daemon.session_ids

    def teardown(self) -> None:
        """An undisturbed message still goes through every session that lives."""
        self.come_back()
        self.up.clear()
        self.down.clear()
        for sid, client in self.clients.items():
            if sid in self.daemon.session_ids and not client.ended:
                assert self.daemon.receive_many(client.seal([b"end"])) == [SessionData(sid, [b"end"])]
                assert client.receive_many(self.daemon.seal(sid, [b"end"])) == [DataReceived([b"end"])]

    # --- below -------------------------------------------------------------------------------------------------------

    def at(self, slot: int) -> ClientEndpoint | None:
        return self.clients.get(self.alias.get(slot, 0))

    def texts(self, sid: int, way: str, count: int) -> list[bytes]:
        texts = [b"%d" % (self.counter + index) for index in range(count)]
        self.counter += count
        self.sent.setdefault((sid, way), set()).update(texts)
        return texts

    def disturb(self, queue: list[Any], data: Any) -> None:
        index = data.draw(st.integers(0, len(queue) - 1))
        what = data.draw(st.sampled_from(["lose", "repeat", "swap"]))
        if what == "lose":
            del queue[index]
        elif what == "repeat":
            queue.append(queue[index])
        else:
            other = data.draw(st.integers(0, len(queue) - 1))
            queue[index], queue[other] = queue[other], queue[index]

    def daemon_takes(self, *frames: bytes) -> None:
        for event in self.daemon.receive_many(frames):
            if isinstance(event, SessionData):
                self.got.setdefault((event.session_id, "up"), []).extend(event.plaintexts)
            elif isinstance(event, SessionEnded):
                assert event.session_id in self.forged
                assert event.code is SbrpErrorCode.DECRYPT_FAILED
            else:
                assert isinstance(event, SessionOpened)

    def client_takes(self, client: ClientEndpoint, frames: list[bytes]) -> None:
        for event in client.receive_many(frames):
            assert not isinstance(event, Failed)
            if isinstance(event, DataReceived):
                self.got.setdefault((client.session_id, "down"), []).extend(event.plaintexts)
            elif isinstance(event, Ended):
                assert client.session_id in self.forged

    def relay_takes(self) -> None:
        for frame in self.daemon.take_frames():
            kind, sid, _ = decode_frame(frame)
            if kind == 0x04 and sid in self.clients:
                self.client_takes(self.clients[sid], [control(SbrpErrorCode.SESSION_EXPIRED, sid)])
            elif kind == 0x02:
                self.down.setdefault(sid, []).append(frame)


Model.TestCase.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)
TestModel = Model.TestCase
