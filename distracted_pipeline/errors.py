"""The one exception that is meant for the person at the keyboard.

Whatever a user can mend raises `DistractedError`. Its message holds three things: the file or setting, the wrong
value, and the next command to type. Bugs raise whatever Python raises.
"""

import reprlib
from typing import Final

_SHORT: Final = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _LONGEST = 200
_SHORT.maxlevel = 3


def shown(value: object) -> str:
    """Return a wrong value as a message shows it: as Python writes it, but of a length that can be read."""
    text = _SHORT.repr(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


LONGEST_MESSAGE: Final = 4_000


class DistractedError(Exception):
    """Something the user can mend; the message names what, where, and what to type next.

    A message that would fill screens, because a file holds a name of a megabyte, loses its middle.
    """

    def __init__(self, message: str) -> None:
        half = LONGEST_MESSAGE // 2
        super().__init__(message if len(message) <= 2 * half else f"{message[: half - 3]} … {message[-half:]}")


class NoMap(DistractedError):
    """A network ends in tokens or numbers, not in a map, so there is no CAM of it: no fault, nothing to mend."""
