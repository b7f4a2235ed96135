"""What docs/protocol/sbp.md says in tables is what the code does."""

import re
from dataclasses import fields
from pathlib import Path

from sideband.protocol.handshake import MAX_HANDSHAKE_BYTES, MAX_PEER_ID_BYTES
from sideband.protocol.limits import DEFAULT_LIMITS, MAX_FRAME_BYTES, MAX_PLAIN_FRAME_BYTES
from sideband.protocol.patterns import MAX_EVENT_NAME_BYTES

PAGE = (Path(__file__).parents[2] / "docs" / "protocol" / "sbp.md").read_text("utf-8")
KIB, MIB = 1024, 1024 * 1024


def rows(heading: str) -> list[list[str]]:
    section = re.split(r"^#+ ", PAGE.partition(f"# {heading}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|"]


def test_every_limit_is_in_the_table() -> None:
    named = set(re.findall(r"`(\w+)`", " ".join(row[2] for row in rows("Limits"))))
    assert {field.name for field in fields(DEFAULT_LIMITS)} <= named


def test_the_values_in_the_table_are_the_defaults() -> None:
    limits = DEFAULT_LIMITS
    said = {row[0]: row[1] for row in rows("Limits")}
    assert said["frame, with `frag/1`"] == f"{limits.max_frame // MIB} MiB" == f"{MAX_FRAME_BYTES // MIB} MiB"
    assert said["frame, without `frag/1`"].startswith(f"{MAX_PLAIN_FRAME_BYTES // MIB} MiB")
    assert said["handshake"] == f"{MAX_HANDSHAKE_BYTES // KIB} KiB"
    assert said["peer id"] == f"{MAX_PEER_ID_BYTES} bytes"
    assert said["event name"] == f"{MAX_EVENT_NAME_BYTES} bytes"
    assert said["bytes waiting to be sent"].startswith(f"{limits.send_buffer_bytes // MIB} MiB")
    assert said["pongs and error frames waiting"].startswith(f"{limits.pending_replies},")
    assert said["kept for repeating"].startswith(f"{limits.window_frames:,} messages, {limits.window_bytes // MIB} MiB")
    assert said["wait on a full window"] == f"{limits.window_stall:g} s"
    assert said["ack"] == f"{limits.ack_frames} messages, {limits.ack_bytes // KIB} KiB, {limits.ack_delay:g} s"
    assert said["states that answer a missing number"] == f"{1 / limits.state_interval:g} a second"
    assert said["wait for the other side's state"] == f"{limits.state_timeout:g} s"
    assert (
        said["wait for repeats after a gap"] == f"{limits.gap_quiet:g} s of silence, {limits.gap_timeout:g} s at most"
    )
    assert said["unfinished frames"] == f"{limits.unfinished_frames}, {limits.unfinished_bytes // MIB} MiB"
