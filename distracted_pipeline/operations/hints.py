"""What to type, where a bare `dagster asset` command was asked for what it cannot do.

Dagster ends these commands with a traceback; its message stays, and these words are the last line.
"""

import sys
from pathlib import Path
from types import TracebackType

from distracted_pipeline.advice import RUN, materialize

_ONE = materialize("subject_masks", "p002")

HINTS = {
    "Partition ranges with the CLI require": "every partition is a run of its own here, so that one bad driver costs "
    f"nobody else's result. Everything that is missing: {RUN}. One partition: {_ONE}. Several of subject_masks in one "
    "run: set DISTRACTED_BACKFILL=one_run. Any: distracted ui, Materialize",
    "must share the same PartitionsDefinition": "the selection holds assets of different partitions, which one command "
    f"cannot make. Everything that is missing, in order: {RUN}. Or name one asset: {materialize('masks')}",
    "but no '--partition' option was provided": f"name its partition, as in: {_ONE}. Everything that is missing: {RUN}",
    "none of the assets are partitioned": f"leave out --partition, as in: {materialize('masks')}",
    "partition key": f"there is no such partition: dagster asset materialize wants one as in: {_ONE}; drivers are in "
    "subjects.txt of the data root, variants in: distracted variants",
    "election": "name assets as `dagster asset list` does, with commas between them. Everything that is missing, in "
    f"order: {RUN}",
}
"""By a part of Dagster's message; the first that fits."""


def explain_bare_commands() -> None:
    """In a `dagster asset` command, end what Dagster raises with the command to type instead."""
    if Path(sys.argv[0]).stem == "dagster" and sys.argv[1:2] == ["asset"]:
        sys.excepthook = _say


def hint(message: str) -> str | None:
    """Return what to type after an error of `dagster asset`; None where nobody knows."""
    return next((words for part, words in HINTS.items() if part in message), None)


def _say(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    words = hint(str(error))
    if words is None:
        sys.__excepthook__(kind, error, traceback)
        return
    print(f"{kind.__name__}: {error}\n\n{words}", file=sys.stderr)
