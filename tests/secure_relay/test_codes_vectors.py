"""Every case of sbrp-codes.json."""

import json
from pathlib import Path

import pytest

from sideband import secure_relay as sr
from sideband.errors import SbrpError, SbrpErrorCode

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "sbrp-codes.json").read_text())


def test_there_is_no_code_but_those_of_the_vectors_and_our_own() -> None:
    ours = {SbrpErrorCode.SESSION_CLEARED}
    assert {code.value for code in SbrpErrorCode} - {code.value for code in ours} == {
        case["code"] for case in VECTORS["codes"]
    }
    assert all(code.wire is None for code in ours)


@pytest.mark.parametrize("case", VECTORS["codes"], ids=lambda case: case["code"])
def test_code(case: dict) -> None:
    code = SbrpErrorCode(case["code"])
    assert code.wire == case["wire"]
    if case["scope"] == "wire":
        assert code.terminal is case["terminal"]
        assert sr.is_terminal(case["wire"]) is case["terminal"]
        assert SbrpErrorCode.from_wire(case["wire"]) is code
        frame = sr.decode_frame(sr.encode_control(1, code, "text"))
        assert sr.decode_control(frame) == (code, "text")
        assert frame.payload[:2].hex() == case["wireHex"]
    else:
        with pytest.raises(ValueError, match="never travels"):
            sr.encode_control(1, code)


@pytest.mark.parametrize("case", VECTORS["unknownWireCodes"], ids=lambda case: case["wireHex"])
def test_unknown_number(case: dict) -> None:
    assert sr.is_terminal(case["wire"]) is case["isTerminal"]
    with pytest.raises(SbrpError) as caught:
        SbrpErrorCode.from_wire(case["wire"])
    assert caught.value.code == "malformed_frame"
    with pytest.raises(SbrpError) as caught:
        sr.decode_control(sr.decode_frame(sr.encode_control(0, case["wire"])))
    assert caught.value.code == case["decodeControlFrame"]["code"]


def test_enumerations_and_constants() -> None:
    assert {member.name.replace("_", "").lower(): member.value for member in sr.FrameType} == {
        name.lower(): value for name, value in VECTORS["frameTypes"].items()
    }
    assert {member.name.lower(): member.value for member in sr.SignalCode} == {
        name.lower(): value for name, value in VECTORS["signalCodes"].items()
    }
    assert {member.name.replace("_", "").lower(): member.value for member in sr.SignalReason} == {
        name.lower(): value for name, value in VECTORS["signalReasons"].items()
    }
    constants = VECTORS["constants"]
    assert constants["FRAME_HEADER_SIZE"] == sr.FRAME_HEADER_SIZE
    assert constants["MAX_PAYLOAD_SIZE"] == sr.MAX_PAYLOAD_SIZE
    assert constants["MAX_PING_PAYLOAD_SIZE"] == sr.MAX_PING_PAYLOAD_SIZE
    assert constants["DEFAULT_REPLAY_WINDOW_SIZE"] == sr.ReplayWindow().size
    assert constants["MAX_PAYLOAD_SIZE"] - constants["MIN_ENCRYPTED_PAYLOAD_SIZE"] == sr.MAX_PLAINTEXT_SIZE
    assert sr.MAX_FRAME_SIZE == 65_549
