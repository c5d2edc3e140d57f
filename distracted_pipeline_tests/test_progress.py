"""Long work says how far it is and how long it will take."""

import pytest

from distracted_pipeline.progress import Progress, duration


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")]
)
def test_durations_read_as_a_person_says_them(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_a_line_is_logged_when_the_interval_has_passed_and_not_before(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    lines: list[str] = []
    progress = Progress(960, "images", lines.append, interval=10)
    now += 4
    progress.advance(40)
    assert lines == []
    now += 8
    progress.advance(80)
    assert lines == ["120/960 images, 10.0/s, 1 min 24 s left"]
