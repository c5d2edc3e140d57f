"""The one exception that is meant for the person at the keyboard.

Whatever a user can mend raises `DistractedError`. Its message holds three things: the file or setting, the wrong
value, and the next command to type. Bugs raise whatever Python raises.
"""


class DistractedError(Exception):
    """Something the user can mend; the message names what, where, and what to type next."""


class NoMap(DistractedError):
    """A network ends in tokens or numbers, not in a map, so there is no CAM of it: no fault, nothing to mend."""
