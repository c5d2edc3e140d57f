"""What does each technique do to the accuracy of each class of distracted driving?

`open("data/demo")` gives a notebook everything in a data root (`notebook`).
"""

import os
from typing import TYPE_CHECKING

__version__ = "0.1.0"
__all__ = ["open"]

# Read when torch loads. Its threads wait for each other by spinning otherwise, and on cores that anything else uses
# (our own decoding threads suffice) that made segmenting ten times slower than sleeping does.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

if TYPE_CHECKING:
    from distracted_pipeline.notebook import open_root as open


def __getattr__(name: str) -> object:
    if name == "open":  # loaded when asked for: every Dagster process imports this package
        from distracted_pipeline.notebook import open_root

        return open_root
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
