"""Folders that an export fills file by file, so that a killed one goes on where it stopped.

Belongs here: which files of an earlier try still count. A file of an export appears whole or not at all, so one that
is there is finished, as long as it is of the same content. What the files hold is the exports' business.
"""

from collections.abc import Iterable
from pathlib import Path

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.files import sweep_dead, write_json
from distracted_pipeline.fingerprints import INPUTS, recorded_inputs

RECORD = ".export.json"
"""What the files of a folder were made from."""


def begin(folder: Path, inputs: str, files: Iterable[Path]) -> None:
    """Make a folder ready: from here on, a file that is in it belongs to this export.

    Args:
        folder: Where the export goes; what else lies in it stays.
        inputs: Fingerprint of what is exported. Files that an earlier export made of something else go first.
        files: All that the export will write.

    Raises:
        DistractedError: The folder cannot be written to.
    """
    sweep_dead(folder)
    record = folder / RECORD
    if recorded_inputs(record) == inputs:
        return
    try:
        for path in (record, *files):
            path.unlink(missing_ok=True)
    except OSError as error:
        raise DistractedError(
            f"{error.filename} is of an earlier export and cannot be removed ({error.strerror}). Give another folder."
        ) from error
    write_json(record, {INPUTS: inputs})
