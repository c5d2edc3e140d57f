"""What every room that loads a Hugging Face model needs: silence about the loading.

Which model, and what is made of it, belongs to the rooms.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager


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
