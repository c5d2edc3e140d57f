"""How errors a user can mend appear in Dagster: a failure with the message, without a retry.

Bugs are not caught here: they keep their traceback.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from distracted_pipeline.errors import DistractedError


@contextmanager
def user_errors_as_failures() -> Iterator[None]:
    """Turn `DistractedError` into `dg.Failure`: retrying bad input only hides it.

    Raises:
        dagster.Failure: Carries the error's message as its description.
    """
    try:
        yield
    except DistractedError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error
