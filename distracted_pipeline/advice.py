"""What messages tell people to type, each written once: commands, and names that were nearly right."""

import os
import shlex
import subprocess
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

RUN = "distracted run"
"""Makes everything that is missing or out of date."""

WHY = "distracted why"
"""Makes the evidence of the page "Why" where it is missing or out of date, and the report anew."""

DOCTOR = "distracted doctor"


def install(extra: str = "") -> str:
    """Return the command that installs the package from its checkout, with an extra."""
    return f'pip install -c constraints.txt -e ".[{extra}]"' if extra else "pip install -c constraints.txt -e ."


def materialize(asset: str, partition: str = "") -> str:
    """Return the command that makes an asset, or one partition of it.

    Args:
        asset: Its name, e.g. `trained_model`.
        partition: Its key, e.g. `original|top_only`; empty for an asset without partitions.
    """
    chosen = f' --partition "{partition}"' if partition else ""
    return f"dagster asset materialize --select {asset}{chosen}"


def typed(path: Path | str) -> str:
    """Return a path as a shell takes it: quoted where it holds blanks."""
    return subprocess.list2cmdline([str(path)]) if os.name == "nt" else shlex.quote(str(path))


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ` Did you mean masks_fused?` where a name is close to one there is, else nothing."""
    close = get_close_matches(name, list(known), n=1)
    return f" Did you mean {close[0]}?" if close else ""


def materialize_fold(asset: str, variant: str, fold: str) -> str:
    """Return the command that makes one variant's fold of `trained_model` or `predictions`."""
    return materialize(asset, f"{fold}|{variant}")
