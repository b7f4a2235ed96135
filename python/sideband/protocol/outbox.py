"""What leaves next: the queue of messages, their pieces, and repeats after a resume.

Messages leave in the order they were queued, with one exception: a request or a response that needs several pieces is
overtaken by what was queued after it, because nothing but its own caller waits for it. Its number is given when its
last piece is due, so numbers always rise in the order of leaving (docs/adr/0041).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from sideband._native import sbp_encode_message
from sideband.protocol.fragments import FRAG_SUBJECT, Fragmented, abandon_piece, piece_header
from sideband.protocol.limits import SbpLimits, SendBudget
from sideband.protocol.resume import SentWindow

__all__ = ["PIECE_OVERHEAD", "FrameIds", "Outbox"]

PIECE_OVERHEAD = 18 + 4 + len(FRAG_SUBJECT) + 16
"""Bytes of a message that carries a piece, besides the piece."""


class FrameIds:
    """Frame ids: random ones, and numbered ones with a random beginning that stays for the session."""

    __slots__ = ("_at", "_pool", "_prefix", "_random")

    def __init__(self, random: Callable[[int], bytes]) -> None:
        self._random = random
        self._prefix = random(8)
        self._pool = b""
        self._at = 0

    def fresh(self) -> bytes:
        """16 random bytes."""
        if self._at >= len(self._pool):
            self._pool = self._random(16 * 32)
            self._at = 0
        at = self._at
        self._at = at + 16
        return self._pool[at : at + 16]

    def numbered(self, number: int) -> bytes:
        """The id that carries `number`."""
        return self._prefix + number.to_bytes(8, "little")


class Outbox:
    """Orders the messages of one connection.

    Args:
        ids: gives the ids of messages.
        limits: of them those of pieces and of the window.
        max_frame_payload: the largest frame of the transport.
        budget: counts what waits here among what waits elsewhere.

    Attributes:
        buffered: bytes queued and not yet taken.
        blocked: nothing leaves: the session is paused, or the other side's state is awaited.
        window: with resume/1, what has left and may have to be repeated.
        next_number: the number that the next covered message gets.
        held_since: when the full window first held a message back, or None.
        rolling: a full window drops its oldest frames instead of holding new ones back.
    """

    __slots__ = (
        "_active",
        "_active_bytes",
        "_budget",
        "_counted",
        "_ids",
        "_limits",
        "_loose",
        "_next_frag",
        "_owed",
        "_piece",
        "_queue",
        "_repeats",
        "_started",
        "_unnumbered",
        "blocked",
        "buffered",
        "held_since",
        "next_number",
        "rolling",
        "window",
    )

    def __init__(self, ids: FrameIds, limits: SbpLimits, max_frame_payload: int, budget: SendBudget) -> None:
        self._budget = budget
        self._counted = 0  # in the budget
        self._ids = ids
        self._limits = limits
        self._piece = max_frame_payload - PIECE_OVERHEAD
        self._queue: deque[bytes | Fragmented] = deque()
        # Lists, not deques: they are empty nearly always, and an empty deque takes 760 bytes in every idle session.
        self._repeats: list[bytes | Fragmented] = []  # the next one last
        self._loose: list[Fragmented] = []  # requests and responses in pieces, waiting for their turn
        self._active: list[Fragmented] = []  # those of them that have begun
        self._started = 0  # frames of which some but not all pieces have left
        self._active_bytes = 0  # and their full sizes
        self._unnumbered: dict[bytes, Fragmented] = {}  # by frame id, requests and responses alike
        self._next_frag = 0
        self._owed = False
        self.buffered = 0
        self.blocked = False
        self.window: SentWindow | None = None
        self.next_number = 0
        self.held_since: float | None = None
        self.rolling = False

    def __del__(self) -> None:
        # A connection may be dropped with bytes waiting.
        self._budget.held -= self._counted

    def reserve(self, size: int) -> bool:
        """Whether `size` more bytes may wait, by the limits of this connection and of all. They are then counted."""
        waiting, budget = self.buffered + size, self._budget
        held = budget.held + waiting - self._counted
        if waiting > self._limits.send_buffer_bytes or held > budget.limit:
            return False
        budget.held, self._counted = held, waiting
        return True

    def append(self, frame: bytes) -> None:
        """Queue a frame that fits one payload. With resume/1 its id already carries `next_number`."""
        self._queue.append(frame)
        self.next_number += 1
        self.buffered += len(frame)

    def append_large(self, frame: bytes, *, loose: bool) -> None:
        """Queue a frame that needs pieces. A `loose` one may be overtaken."""
        number = None
        if not loose:
            number = self.next_number
            self.next_number += 1
        entry = Fragmented(frame, self._piece, number)
        if loose:
            self._unnumbered[frame[2:18]] = entry
        self._queue.append(entry)
        self.buffered += len(frame)

    def take_back(self, frame_id: bytes) -> list[bytes] | None:
        """Withdraw a request in pieces that has not left whole and has no number yet.

        Returns the messages that tell the other side, an empty list when nothing of it has left, and None when the
        frame is not here or too far.
        """
        entry = self._unnumbered.pop(frame_id, None)
        if entry is None:
            return None
        self.buffered -= len(entry.frame)
        messages = self._restart(entry) if entry.frag_id is not None else []
        for waiting in (self._loose, self._active):
            if entry in waiting:
                waiting.remove(entry)
        if entry in self._queue:
            self._queue.remove(entry)
        return messages

    def waiting_ids(self) -> set[bytes]:
        """The ids of all messages that have not left whole."""
        found = {(entry if isinstance(entry, bytes) else entry.frame)[2:18] for entry in self._queue}
        found.update(entry.frame[2:18] for entry in self._loose)
        found.update(entry.frame[2:18] for entry in self._active)
        return found

    def ready(self) -> bool:
        """Whether `take` would give something."""
        if self.blocked:
            return False
        if self._repeats or self._active:
            return True
        if self._queue and self.held_since is None:
            return True
        return bool(self._loose) and self._fits(self._loose[0])

    def take(self, out: list[bytes], room: int, now: Callable[[], float]) -> None:
        """Append what leaves now to `out`, within `room` bytes unless `out` is empty."""
        if self.blocked:
            return
        if self._repeats:
            room = self._take_repeats(out, room)
            if self._repeats:
                return
        if self._owed and (self._active or self._loose):
            room = self._take_loose(out, room, most=1)
        room = self._take_queue(out, room, now)
        before = len(out)
        if self._active or self._loose:
            self._take_loose(out, room)
            self._owed = len(out) == before
        self._count()

    def repeat(self) -> int:
        """Queue everything that the window holds once more, ahead of all else; return how many frames that is."""
        if self.window is None:
            return 0
        self._repeats = list(self.window.frames())
        self._repeats.reverse()
        for entry in self._repeats:
            if isinstance(entry, Fragmented):
                entry.restart()
        return len(self._repeats)

    @property
    def repeating(self) -> bool:
        """Whether repeats are still waiting."""
        return bool(self._repeats)

    def acknowledged(self, number: int) -> None:
        """The other side has everything below `number`: forget it, and do not repeat it.

        Raises:
            SbpError: 1000, fatal, when so much has not left.
        """
        window = self.window
        if window is None:
            return
        window.acknowledge(number)
        while len(self._repeats) > len(window):
            head = self._repeats[-1]
            if isinstance(head, Fragmented) and head.sent:
                break  # begun already: the other side drops it as a repeat once it is whole
            self._repeats.pop()
        self.held_since = None
        self.rolling = False

    def cut(self) -> None:
        """The session is paused: unfinished frames begin anew, repeats wait for the other side's state."""
        self._repeats.clear()
        while self._active:
            entry = self._active.pop()
            self.buffered += entry.restart()
            self._loose.insert(0, entry)
        for queued in self._queue:
            if isinstance(queued, Fragmented):
                self.buffered += queued.restart()
        self._started = self._active_bytes = 0
        self.held_since = None
        self.rolling = False
        self._count()

    def clear(self) -> None:
        """Forget everything."""
        for waiting in (self._queue, self._repeats, self._loose, self._active):
            waiting.clear()
        self._unnumbered.clear()
        self.window = None
        self.buffered = self._started = self._active_bytes = 0
        self._count()

    def _count(self) -> None:
        self._budget.held += self.buffered - self._counted
        self._counted = self.buffered

    def _take_queue(self, out: list[bytes], room: int, now: Callable[[], float]) -> int:
        queue, window = self._queue, self.window
        while queue:
            entry = queue[0]
            if isinstance(entry, bytes):
                size = len(entry)
                if out and size > room:
                    break
                if window is not None:
                    if not (self.rolling or window.has_room(size)):
                        self._hold(now)
                        break
                    window.push(entry, size)
                queue.popleft()
                out.append(entry)
                self.buffered -= size
                room -= size
            elif entry.number is None:
                queue.popleft()
                self._loose.append(entry)
            else:
                if out and entry.next_size + PIECE_OVERHEAD > room:
                    break
                if window is not None and entry.at_last and not (self.rolling or window.has_room(len(entry.frame))):
                    self._hold(now)
                    break
                if entry.frag_id is None:
                    self._make_room(entry, out)
                room -= self._take_piece(entry, out)
                if entry.sent == entry.count:
                    queue.popleft()
                    if window is not None:
                        window.push(entry, len(entry.frame))
        return room

    def _take_loose(self, out: list[bytes], room: int, most: int | None = None) -> int:
        while most is None or most > 0:
            while self._loose and self._fits(self._loose[0]):
                entry = self._loose.pop(0)
                self._begin(entry)
                self._active.append(entry)
            if not self._active:
                break
            entry = self._active[0]
            if out and entry.next_size + PIECE_OVERHEAD > room:
                break
            room -= self._take_piece(entry, out)
            self._active.pop(0)
            if entry.at_last:
                # Now its place among the others is settled: everything queued so far has a lower number.
                entry.number = self.next_number
                del self._unnumbered[entry.frame[2:18]]
                self.next_number += 1
                self._queue.append(entry)
            else:
                self._active.append(entry)
            if most is not None:
                most -= 1
        return room

    def _take_repeats(self, out: list[bytes], room: int) -> int:
        repeats = self._repeats
        while repeats:
            entry = repeats[-1]
            if isinstance(entry, bytes):
                if out and len(entry) > room:
                    break
                repeats.pop()
                out.append(entry)
                room -= len(entry)
                continue
            if out and entry.next_size + PIECE_OVERHEAD > room:
                break
            if entry.frag_id is None:
                self._make_room(entry, out)
            self.buffered += entry.next_size  # what is repeated was never counted
            room -= self._take_piece(entry, out)
            if entry.sent == entry.count:
                repeats.pop()
        return room

    def _take_piece(self, entry: Fragmented, out: list[bytes]) -> int:
        if entry.frag_id is None:
            self._begin(entry)
        last = entry.at_last
        number = entry.number
        numbered = last and self.window is not None and number is not None
        frame_id = self._ids.numbered(number) if numbered and number is not None else self._ids.fresh()
        header = piece_header(entry.frag_id or 0, entry.sent, entry.count)
        size = entry.next_size
        message = b"".join((sbp_encode_message(frame_id, FRAG_SUBJECT, header), entry.next_piece()))
        out.append(message)
        entry.sent += 1
        self.buffered -= size
        if last:
            self._started -= 1
            self._active_bytes -= len(entry.frame)
        return len(message)

    def _begin(self, entry: Fragmented) -> None:
        entry.frag_id = self._next_frag
        self._next_frag += 1
        self._started += 1
        self._active_bytes += len(entry.frame)

    def _fits(self, entry: Fragmented) -> bool:
        return (
            self._started < self._limits.unfinished_frames
            and self._active_bytes + len(entry.frame) <= self._limits.unfinished_bytes
        )

    def _make_room(self, entry: Fragmented, out: list[bytes]) -> None:
        # Whatever is unfinished finishes only behind this frame, so waiting for it would be for ever.
        while not self._fits(entry):
            if self._active:
                other = self._active.pop()
                self._loose.insert(0, other)
            else:
                other = next(
                    queued
                    for queued in reversed(self._queue)
                    if isinstance(queued, Fragmented) and queued.frag_id is not None and queued is not entry
                )
            out.extend(self._restart(other))

    def _restart(self, entry: Fragmented) -> list[bytes]:
        frag_id, count = entry.frag_id or 0, entry.count
        self._started -= 1
        self._active_bytes -= len(entry.frame)
        self.buffered += entry.restart()
        return [sbp_encode_message(self._ids.fresh(), FRAG_SUBJECT, abandon_piece(frag_id, count))]

    def _hold(self, now: Callable[[], float]) -> None:
        if self.held_since is None:
            self.held_since = now()
