"""Frames into episodes: from when to when the driver did what."""

from collections.abc import Iterable

import numpy as np
import pytest

from distracted_pipeline.serving.episodes import Episode, EpisodeFinder, Rules

EXACT = Rules(smooth=0, min_length=1.0)


def row(k: int, sure: float = 0.9) -> np.ndarray:
    values = np.full(3, (1 - sure) / 2)
    values[k] = sure
    return values


def find_episodes(frames: Iterable[tuple[float, np.ndarray]], end: float, rules: Rules = Rules()) -> list[Episode]:
    finder = EpisodeFinder(rules)
    for time, probabilities in frames:
        finder.add(time, probabilities)
    return finder.finish(end)


def spans(script: str, rules: Rules, fps: float = 10) -> list[tuple[int, float, float]]:
    """Episodes of a clip written as a digit a frame."""
    frames = [(number / fps, row(int(k))) for number, k in enumerate(script)]
    found = find_episodes(frames, len(script) / fps, rules)
    return [(episode.k, round(episode.start, 3), round(episode.end, 3)) for episode in found]


def test_an_episode_lasts_from_its_first_frame_until_the_next_one_s() -> None:
    assert spans("0" * 20 + "1" * 15, EXACT) == [(0, 0, 2), (1, 2, 3.5)]


def test_what_is_too_short_is_no_episode_and_ends_none() -> None:
    assert spans("0" * 20 + "111" + "0" * 5 + "2" * 12, EXACT) == [(0, 0, 2.8), (2, 2.8, 4)]
    assert spans("0120120", EXACT) == []
    assert spans("1" * 10, EXACT) == [(1, 0, 1)], "just long enough"


def test_smoothing_removes_flicker_and_keeps_the_borders_of_what_lasts() -> None:
    flicker = "0" * 9 + "1" + "0" * 10 + "1" * 20
    rules = Rules(smooth=1.0, min_length=0.2)
    assert spans(flicker, rules) == [(0, 0, 2), (1, 2, 4)]
    assert spans(flicker, Rules(smooth=0, min_length=0)) == [(0, 0, 0.9), (1, 0.9, 1), (0, 1, 2), (1, 2, 4)]


def test_confidence_is_the_mean_probability_of_the_class_over_its_own_frames() -> None:
    rows = [row(0, 0.9)] * 10 + [row(1, 0.8)] * 2 + [row(0, 0.7)] * 10
    (episode,) = find_episodes([(number / 10, values) for number, values in enumerate(rows)], 2.2, EXACT)
    assert episode.confidence == pytest.approx(0.8)
    assert episode.frames == 20


def test_times_are_the_frames_own_however_uneven() -> None:
    frames = [(time, row(k)) for time, k in ((0.0, 0), (0.1, 0), (2.0, 0), (2.05, 1), (5.0, 1))]
    found = find_episodes(frames, 5.5, EXACT)
    assert [(episode.k, episode.start, episode.end) for episode in found] == [(0, 0.0, 2.05), (1, 2.05, 5.5)]


def test_only_the_window_is_held_however_long_the_clip() -> None:
    most = []
    for frames in (200, 2000):
        finder = EpisodeFinder(Rules(smooth=1.0))
        held = []
        for number in range(frames):
            finder.add(number / 10, row(number // 20 % 3))
            held.append(finder.held)
        most.append(max(held))
        assert len(finder.finish(frames / 10)) == frames / 20
    assert most[0] == most[1] <= 12


def test_no_frames_are_no_episodes() -> None:
    assert find_episodes([], 0.0) == []
