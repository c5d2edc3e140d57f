"""User errors become failures without retries; bugs stay bugs."""

import dagster as dg
import pytest

from distracted_pipeline.assets.step import user_errors_as_failures
from distracted_pipeline.errors import DistractedError


def test_a_users_error_becomes_a_failure_that_is_not_retried() -> None:
    with pytest.raises(dg.Failure) as caught, user_errors_as_failures():
        raise DistractedError("no data in x; type y")
    assert caught.value.description == "no data in x; type y"
    assert caught.value.allow_retries is False


def test_a_bug_keeps_its_own_type() -> None:
    with pytest.raises(ZeroDivisionError), user_errors_as_failures():
        print(1 / 0)
