"""Frames of resume/1, as tests make and read them."""

import struct

from sideband._native import sbp_decode, sbp_encode_message

RESUME = "app/sb.resume.v1"


def resume_messages(frames: list[bytes]) -> list[tuple[int, int]]:
    decoded = [sbp_decode(frame) for frame in frames]
    return [struct.unpack("<BQ", frame.data) for frame in decoded if frame.subject == RESUME]


def numbers(frames: list[bytes]) -> list[int]:
    """The numbers of the covered messages that fit one payload."""
    decoded = [sbp_decode(frame) for frame in frames]
    return [
        int.from_bytes(frame.frame_id[8:], "little")
        for frame in decoded
        if frame.kind == 1 and not frame.subject.startswith("app/sb.")
    ]


def say(kind: int, number: int) -> bytes:
    return sbp_encode_message(bytes(16), RESUME, struct.pack("<BQ", kind, number))


def covered(number: int, data: bytes = b'{"t":"N","e":"x"}', subject: str = "event") -> bytes:
    return sbp_encode_message(b"peerpeer" + number.to_bytes(8, "little"), subject, data)
