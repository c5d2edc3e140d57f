"""What follows from looks: the planted change is found, its control taken off, and nothing else decided."""

import numpy as np
import pyarrow as pa
import pytest

from distracted_pipeline.evaluation.predictions import Part
from distracted_pipeline.evaluation.tables_io import schema_of
from distracted_pipeline.explanation.what_if.counterfactuals import _effects
from distracted_pipeline.explanation.what_if.effects import Looks, fewest_trainings
from distracted_pipeline.explanation.what_if.tables import Effect, Look

DRIVERS, FOLDS, CLASSES, TRAININGS = 15, 5, 3, 2


def looks(fall: float, elsewhere: float = 0.0, trainings: int = TRAININGS, on_objects: float = 0.05) -> Looks:
    """Two frames of each driver and class: erasing the phone takes `fall` from class 1, any erasing `elsewhere`."""
    rng = np.random.default_rng(0)
    rows, parts = [], []
    for fold in range(FOLDS):
        subjects = [f"d{n:02}" for n in range(DRIVERS) if n % FOLDS == fold]
        imgs = [(f"{s}-{k}-{i}", s, k) for s in subjects for k in range(CLASSES) for i in range(2)]
        names, who, true = (np.array(column) for column in zip(*imgs, strict=True))
        parts.append(
            Part("v", str(fold), names, who, who, true.astype(np.int8), np.zeros((trainings, len(imgs), CLASSES)))
        )
        for img, subject, k in imgs:
            for replicate in range(trainings):
                p = float(rng.uniform(0.7, 0.9))
                versions = {("", "original"): 0.0, ("phone", "erased"): elsewhere + fall * (k == 1)}
                versions |= {("phone", "control"): elsewhere, ("phone", "blurred"): fall * (k == 1)}
                for (about, version), lost in versions.items():
                    value = p - lost + float(rng.normal(0, 0.02)) * bool(about)
                    answer = k if value > 0.5 else (k + 1) % CLASSES
                    share = on_objects if version == "control" else None
                    rows.append((img, subject, k, replicate, about, version, value, answer, share))
    names = schema_of(Look).names
    table = pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows], schema=schema_of(Look))
    return Looks.of(table, parts, CLASSES)


def effects(found: Looks) -> dict[int, Effect]:
    return {effect.class_id: effect for effect in _effects(found, "v", "phone") if effect.version == "erased"}


def test_what_hangs_on_the_object_is_found_and_only_that() -> None:
    found = effects(looks(fall=0.4, elsewhere=0.05))
    one = found[1]
    assert one.delta == pytest.approx(-0.4, abs=0.02)
    assert one.low is not None and one.high is not None and one.low < -0.4 < one.high  # noqa: PT018
    assert one.p is not None and one.p < 0.001  # noqa: PT018
    assert one.before == pytest.approx(0.8, abs=0.03)
    assert one.control == pytest.approx(0.75, abs=0.03)
    assert (one.frames, one.drivers, one.trainings) == (30, 15, 2)
    assert one.on_objects == pytest.approx(0.05)
    assert one.lost == 1.0
    assert one.lost_control == 0.0
    for k in (0, 2):
        assert found[k].delta == pytest.approx(0, abs=0.02)
        assert found[k].p is not None and found[k].p > 0.05  # noqa: PT018


def test_what_filling_does_anywhere_is_no_effect_of_the_object() -> None:
    for effect in effects(looks(fall=0.0, elsewhere=0.3)).values():
        assert effect.delta == pytest.approx(0, abs=0.02)
        assert effect.before - effect.after > 0.25  # type: ignore[operator]


def test_where_the_control_erases_objects_too_nothing_is_tested() -> None:
    found = effects(looks(fall=0.4, on_objects=0.25))
    assert found[1].delta == pytest.approx(-0.4, abs=0.02)
    assert all(effect.p is None for effect in found.values())


def test_one_training_alone_decides_nothing() -> None:
    found = looks(fall=0.4, trainings=1)
    assert fewest_trainings(found) == 1
    assert all(effect.p is None for effect in effects(found).values())
    assert effects(found)[1].delta == pytest.approx(-0.4, abs=0.02)


def test_a_category_that_no_frame_shows_has_no_effect() -> None:
    assert not list(_effects(looks(fall=0.4), "v", "bottle"))
