"""Images that somebody found changed although their size and time say otherwise, noted for the next ingest.

Whoever reads an image and meets other bytes than the manifest's notes it here; `ingest` reads it anew and strikes it
off. What such a reader does about the image itself (masks, taps) is its own business.
"""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from distracted_pipeline.files import locked, write_json
from distracted_pipeline.settings import Settings

NOTE_NAME: Final = "images_recheck.json"


def distrust(settings: Settings, paths: Iterable[str]) -> None:
    """Note images whose bytes are not those of the manifest, so that the next ingest reads them anew.

    Args:
        settings: Names the data root.
        paths: As in the manifest's column `path`.
    """
    _change(settings, lambda noted: noted | set(paths))


def distrusted(settings: Settings) -> set[str] | None:
    """Return the manifest paths that are noted; each counts as unread. None where the note is damaged: all do."""
    try:
        found = json.loads(_note(settings).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return set()
    except (ValueError, RecursionError):
        return None
    return set(found) if isinstance(found, list) and all(isinstance(path, str) for path in found) else None


def trust_again(settings: Settings, paths: Iterable[str]) -> None:
    """Strike off images that have been read anew: all of them, where the note was damaged."""
    if distrusted(settings) is None:
        _note(settings).unlink(missing_ok=True)
    elif _note(settings).exists():
        _change(settings, lambda noted: noted - set(paths))


def _change(settings: Settings, change: Callable[[set[str]], set[str]]) -> None:
    """Rewrite the note; several processes may meet changed images at once."""
    note = _note(settings)
    with locked(note.with_name(f".{NOTE_NAME}.lock"), what=f"the note {note}"):
        before = distrusted(settings)
        if before is None:  # everything is read anew as it is
            return
        after = change(before)
        if not after:
            note.unlink(missing_ok=True)
        elif after != before:
            write_json(note, sorted(after))


def _note(settings: Settings) -> Path:
    return settings.data / NOTE_NAME
