"""What comes from elsewhere, as a terminal may show it."""

from __future__ import annotations

__all__ = ["shown", "shown_lines"]


def shown(text: str) -> str:
    r"""Return text in which nothing is an order to a terminal, and nothing looks like what it is not.

    Control characters, signs that change the direction of text, line ends and bytes that are no text become escapes
    such as `\x1b` or `\u202e`; a backslash before what would look like one is doubled.
    """
    if text.isprintable() and "\\" not in text:
        return text
    return "".join(_letter(letter) for letter in text)


def shown_lines(text: str) -> str:
    """Return text of several lines of ours, in which names may come from elsewhere, as `shown` does line by line."""
    return "\n".join(shown(line) for line in text.split("\n"))


def _letter(letter: str) -> str:
    if letter == "\\":
        return "\\\\"
    if letter.isprintable():
        return letter
    code = ord(letter)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
