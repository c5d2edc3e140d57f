import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distracted_pipeline.figures import formats


@pytest.mark.parametrize(
    ("value", "text"), [(0.874, ".87"), (1.0, "1.00"), (0.999, "1.00"), (0.0, ".00"), (None, "–"), (math.nan, "–")]
)
def test_proportions_have_no_leading_zero(value: float | None, text: str) -> None:
    assert formats.proportion(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.05, "+.05"), (-0.05, "−.05"), (-1.0, "−1.00"), (0.001, "±.00"), (-0.0, "±.00"), (None, "–")]
)
def test_differences_always_carry_a_sign(value: float | None, text: str) -> None:
    assert formats.difference(value) == text


def test_intervals_vanish_where_an_end_is_undefined() -> None:
    assert formats.interval(0.8, 0.921) == "[.80, .92]"
    assert formats.difference_interval(-0.02, 0.12) == "[−.02, +.12]"
    assert formats.interval(None, 0.9) == formats.difference_interval(0.1, math.nan) == ""


def test_small_p_values_are_bounded_not_rounded_to_zero() -> None:
    assert formats.p_value(0.00005) == "< .001"
    assert formats.p_value(0.0124) == ".012"


def test_a_small_share_is_not_rounded_to_none() -> None:
    assert [formats.percent(share) for share in (0.0, 0.004, 0.006, 0.57, None)] == ["0%", "< 1%", "1%", "57%", "–"]


def test_plain_names_stay_as_file_names() -> None:
    assert formats.slug("masks_fused") == "masks_fused"
    assert formats.slug("img_100.jpg") == "img_100.jpg"


@given(st.sets(st.text(min_size=1, max_size=40), max_size=12))
def test_any_names_become_distinct_harmless_file_names_even_where_case_is_ignored(names: set[str]) -> None:
    slugs = {formats.slug(name).lower() for name in names}
    assert len(slugs) == len(names)
    assert all(set(slug) <= set("abcdefghijklmnopqrstuvwxyz0123456789._-") for slug in slugs)
    assert not any(slug.startswith(".") for slug in slugs)


def test_listings_read_as_sentences() -> None:
    assert formats.listing([]) == ""
    assert formats.listing(["a"]) == "a"
    assert formats.listing(["a", "b", "c"]) == "a, b and c"
