"""The one exception that is meant for the person at the keyboard.

Anything a user can mend raises `DistractedError` with three things in the message: the file or
setting, the offending value, and the next command to type. Bugs raise whatever Python raises.
"""


class DistractedError(Exception):
    """Something the user can mend; the message names what, where, and what to type next."""
