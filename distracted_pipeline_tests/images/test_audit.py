"""A split that leaks is caught, a clean one is not, and a score is worth what its drivers are."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from distracted_pipeline.cli import main
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.images import audit as room
from distracted_pipeline.images.likeness import ALIKE, as_words
from distracted_pipeline.images.splits import TEST, TRAIN, Listed, look_at, read_split

Draw = Callable[[str, int], Path]


def scene(seed: int, quality: int = 90) -> bytes:
    noise = np.random.default_rng(seed).integers(0, 255, (12, 16), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(noise).resize((80, 60), Image.Resampling.BICUBIC).convert("RGB").save(out, "JPEG", quality=quality)
    return out.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six scenes, `copy.jpg` being `0.jpg` saved more coarsely and `same.jpg` byte for byte `1.jpg`."""
    for seed in range(6):
        (tmp_path / f"{seed}.jpg").write_bytes(scene(seed))
    (tmp_path / "copy.jpg").write_bytes(scene(0, quality=35))
    (tmp_path / "same.jpg").write_bytes(scene(1))
    return tmp_path


def split(folder: Path, *lines: str, head: str = "img,subject,split") -> Path:
    path = folder / "split.csv"
    path.write_text("\n".join([head, *lines]) + "\n")
    return path


def audited(place: Path, **more: float) -> room.Audit:
    listed = read_split(place)
    return room.audit(listed, look_at(listed, lambda line: None), **more)


def test_a_clean_split_has_no_leak(folder: Path) -> None:
    found = audited(split(folder, "0.jpg,ann,train", "1.jpg,ben,train", "2.jpg,cleo,test", "3.jpg,dora,test"))
    assert found.leaks == []
    assert (found.frames, found.near) == ({TRAIN: 2, TEST: 2}, 0)
    assert found.beyond[0].distance > ALIKE


def test_shared_drivers_copies_and_near_duplicates_are_each_named(folder: Path) -> None:
    lines = ("0.jpg,ann,train", "1.jpg,ben,train", "copy.jpg,cleo,test", "same.jpg,dora,test", "4.jpg,ann,test")
    found = audited(split(folder, *lines), threshold=ALIKE)
    said = " ".join(found.leaks)
    assert "1 of 3 test drivers are trained on too (ann): 33% of the test frames" in said
    assert "1 test frames are byte for byte trained on" in said
    assert "2 test frames (67%) have a near-duplicate" in said
    assert [(pair.first, pair.second) for pair in found.identical] == [(1, 3)]


def test_drivers_come_from_a_list_where_the_split_does_not_say_them(folder: Path) -> None:
    place = split(folder, "0.jpg,train", "4.jpg,test", head="img,split")
    assert [one.subject for one in read_split(place, drivers={"4.jpg": "ann"})] == ["", "ann"]


def test_folders_are_a_split_with_classes(folder: Path) -> None:
    for side, name, frame in (("train", "c0", "0.jpg"), ("val", "c1", "2.jpg")):
        (folder / "split" / side / name).mkdir(parents=True)
        (folder / frame).rename(folder / "split" / side / name / frame)
    assert [(one.side, one.label) for one in read_split(folder / "split")] == [(TRAIN, "c0"), (TEST, "c1")]


@pytest.mark.parametrize(
    ("head", "line", "words"),
    [
        ("img,subject", "0.jpg,ann", "line 1: no column split"),
        ("img,split", "0.jpg,trian", "line 2: split is 'trian', not train or test"),
        ("img,split", "9.jpg,train", "line 2: there is no frame '9.jpg'"),
        ("img,split,correct", "0.jpg,train,maybe", "line 2: correct is 'maybe'"),
        ("img,split", "0.jpg,train\n0.jpg,test", "line 3: 0.jpg is listed in line 2 already"),
        ("img,split", "0.jpg,train", "has no test frames"),
    ],
)
def test_a_split_that_cannot_be_read_says_where(folder: Path, head: str, line: str, words: str) -> None:
    with pytest.raises(DistractedError) as error:
        read_split(split(folder, line, head=head))
    assert words in str(error.value)


def test_where_strangers_look_alike_the_threshold_falls() -> None:
    rng = np.random.default_rng(0)
    base = int.from_bytes(rng.bytes(32))

    def flipped(value: int, bits: int) -> int:
        return value ^ sum(1 << int(b) for b in rng.choice(256, bits, replace=False))

    own = [flipped(base, 2) for _ in range(40)]
    strangers = [flipped(base, 12) for _ in range(40)]
    words = as_words([f"{value:064x}" for value in (*own, *strangers)])
    subjects = np.array(["ann"] * 40 + ["ben"] * 40)
    bits, said = room.choose_threshold(words, subjects)
    assert 4 <= bits < 14
    assert "of one driver" in said
    assert room.choose_threshold(words, np.array([""] * 80))[0] == ALIKE


def test_a_score_is_worth_as_much_as_its_drivers() -> None:
    def frames(drivers: int, each: int) -> list[Listed]:
        return [Listed(Path(f"{d}_{i}.jpg"), TEST, f"d{d}") for d in range(drivers) for i in range(each)]

    few, many = (room.worth(frames(drivers, 400 // drivers), 0.9, icc=0.1) for drivers in (4, 40))
    assert few is not None
    assert many is not None
    assert few.naive_low == many.naive_low
    assert few.high - few.low > many.high - many.low > many.naive_high - many.naive_low
    assert few.design_effect == pytest.approx(1 + 99 * 0.1)
    independent = room.worth(frames(400, 1), 0.9, icc=0.1)
    assert independent is not None
    assert (independent.low, independent.high) == pytest.approx(
        (independent.naive_low, independent.naive_high), abs=1e-3
    )
    assert room.worth(frames(1, 400), 0.9) is None


def test_the_correlation_within_drivers_is_read_from_answers() -> None:
    drivers = [f"d{i % 10}" for i in range(1000)]
    apart = [i % 10 < 5 for i in range(1000)]
    mixed = list(np.random.default_rng(0).random(1000) < 0.5)
    assert room.icc_of(apart, drivers) == pytest.approx(1)
    assert room.icc_of(mixed, drivers) < 0.03
    assert room.icc_of([], []) == room.DRIVER_ICC


def test_the_command_ends_with_3_where_it_leaks_and_writes_pairs_as_pictures(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("DISTRACTED_DATA", str(folder / "no data root"))
    place = split(folder, "0.jpg,ann,train", "1.jpg,ben,train", "copy.jpg,ann,test", "5.jpg,cleo,test")
    said = CliRunner().invoke(main, ["audit", str(place), "--accuracy", ".93", "--threshold", "36"])
    assert said.exit_code == 3, said.output
    assert "leak: 1 of 2 test drivers are trained on too (ann)" in " ".join(said.output.split())
    page = (folder / "audit.html").read_text()
    assert page.count('src="data:image/jpeg;base64,') == 4
    assert "http" not in page.split("</style>")[1]
    clean = split(folder, "0.jpg,ann,train", "1.jpg,ben,train", "4.jpg,dora,test", "5.jpg,cleo,test")
    assert CliRunner().invoke(main, ["audit", str(clean)]).exit_code == 0
    assert CliRunner().invoke(main, ["audit", "nothing.csv"]).exit_code == 1
