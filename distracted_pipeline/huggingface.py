"""What every room that loads a Hugging Face model needs: silence about the loading, and whether all weights are there.

Which model, and what is made of it, belongs to the rooms.
"""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

from distracted_pipeline.files import read_others_json

_SINGLE = "model.safetensors"
_INDEX = ".index.json"


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silence the load reports and progress bars of transformers; what matters in them is checked, and raised."""
    from transformers.utils import logging as hf

    level = hf.get_verbosity()
    hf.set_verbosity(logging.CRITICAL)
    hf.disable_progress_bar()
    try:
        yield
    finally:
        hf.set_verbosity(level)
        hf.enable_progress_bar()


def lacking_weights(folder: Path, patterns: Iterable[str]) -> str:
    """Return the first file of weights that a model's folder should have and has not; empty where it has all of them.

    Weights in several files have an index that lists them; one that lies beside a single file counts for nothing.

    Args:
        folder: Of a model.
        patterns: Names of the files that can be loaded.
    """
    allowed = list(patterns)
    if (folder / _SINGLE).is_file():
        return ""
    for index in sorted(folder.glob(f"*{_INDEX}"), reverse=True):  # safetensors before bin, as transformers does
        if not any(fnmatch(index.name.removesuffix(_INDEX), pattern) for pattern in allowed):
            continue
        try:
            parts = sorted(set(map(str, dict(read_others_json(index)["weight_map"]).values())))
        except (OSError, ValueError, TypeError, KeyError) as error:
            return f"{index.name} is damaged ({type(error).__name__}: {error})"
        return next((part for part in parts if not (folder / part).is_file()), "")
    return "" if any(any(folder.glob(pattern)) for pattern in allowed) else _SINGLE
