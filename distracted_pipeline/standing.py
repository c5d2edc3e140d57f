"""Whether the data root in use still stands where it stood: one that is moved or unmounted must not grow a shadow.

Belongs here: remembering data roots that were found with something in them, and the sentence once one has gone.
`settings` remembers them, whoever makes a folder asks first, and the ends of commands and steps put the sentence in the
place of the many errors that follow from it.
"""

import os
from pathlib import Path

from distracted_pipeline.errors import DistractedError

_roots: dict[Path, None] = {}
"""The last one was named last."""


class GoneError(DistractedError):
    """The data root was moved, removed or unmounted while a command used it."""


def remember(root: Path) -> None:
    """Note a data root that is in use from now on; one without anything in it may come and go."""
    if _stands(root):
        _roots.pop(root, None)
        _roots[root] = None


def forget() -> None:
    """Forget all data roots: none is in use any more, and any may go."""
    _roots.clear()


def require_standing(path: Path) -> None:
    """Fail where a path lies in a data root that has gone since it was remembered.

    Raises:
        GoneError: It has.
    """
    for root in (path, *path.parents):
        if root in _roots and not _stands(root):
            raise GoneError(
                f"{root} is gone: it was moved, removed or unmounted while this command used it. Put it back, or say "
                "with --data where it is now, and type the command again: what was finished is kept."
            )


def gone() -> GoneError | None:
    """Return the error that says that the data root in use has gone, None where it stands or none is in use."""
    try:
        for root in list(_roots)[-1:]:
            require_standing(root)
    except GoneError as error:
        return error
    return None


def _stands(root: Path) -> bool:
    """Tell whether a folder is there with something in it: what an unmounted disk leaves behind is empty."""
    try:
        with os.scandir(root) as found:
            return next(found, None) is not None
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:  # there, but not to be read: whoever reads it says why
        return True
