import csv
import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from distracted_pipeline.dataset import STATE_FARM
from distracted_pipeline.demo import dataset
from distracted_pipeline.demo.canvas import BOTTLE, CHAIR, CUP, PERSON, PHONE
from distracted_pipeline.demo.dataset import DemoDataset, generate
from distracted_pipeline.demo.poses import PHONE_CLASSES
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.settings import load_settings

TINY = {"drivers": 3, "frames": 1, "test_frames": 3}


def silent(_: str) -> None:
    pass


def contents(root: Path) -> dict[str, bytes]:
    files = (path for path in root.rglob("*") if path.is_file() and not path.name.endswith(".lock"))
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def rows(root: Path) -> list[dict[str, str]]:
    with (root / "driver_imgs_list.csv").open(newline="") as handle:
        return list(csv.DictReader(handle))


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> DemoDataset:
    return generate(tmp_path_factory.mktemp("demo") / "data", **TINY, log=silent)


def test_every_row_has_its_file_and_every_file_its_row(demo: DemoDataset) -> None:
    listed = {f"imgs/train/{row['classname']}/{row['img']}" for row in rows(demo.root)}
    drawn = {path.relative_to(demo.root).as_posix() for path in demo.root.glob("imgs/train/*/*")}
    assert listed == drawn
    assert len(rows(demo.root)) == demo.labelled == 3 * 10
    assert len(list(demo.root.glob("imgs/test/*.jpg"))) == demo.unlabelled == 3
    assert Counter((row["subject"], row["classname"]) for row in rows(demo.root)) == {
        (subject, classname): 1 for subject in demo.drivers for classname in STATE_FARM.class_ids
    }


def test_frames_are_jpegs_of_kaggles_size_under_distinct_names(demo: DemoDataset) -> None:
    paths = list(demo.root.glob("imgs/**/*.jpg"))
    assert len({path.name for path in paths}) == len(paths) == 33
    for path in paths:
        with Image.open(path) as image:
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (640, 480))


def test_every_frame_has_a_label_map_with_the_classes_things(demo: DemoDataset) -> None:
    classes = {Path(row["img"]).stem: row["classname"] for row in rows(demo.root)}
    maps = {path.stem: path for path in demo.root.glob("label_maps/*.png")}
    assert set(maps) == {path.stem for path in demo.root.glob("imgs/**/*.jpg")}
    for stem, path in maps.items():
        with Image.open(path) as image:
            assert image.mode == "L"
            areas = np.bincount(np.asarray(image).ravel(), minlength=7)
        assert len(areas) == 7
        assert areas[PERSON] > 30_000
        assert areas[CHAIR] > 10_000
        if stem in classes:
            assert (areas[PHONE] > 0) == (classes[stem] in PHONE_CLASSES)
            assert areas[PHONE] == 0 or areas[PHONE] > 60
            if classes[stem] == "c6":
                assert areas[CUP] + areas[BOTTLE] > 500


def test_the_same_arguments_give_the_same_bytes_and_another_seed_other_ones(demo: DemoDataset, tmp_path: Path) -> None:
    again = generate(tmp_path / "again", **TINY, log=silent)
    assert contents(again.root) == contents(demo.root)
    other = generate(tmp_path / "other", **TINY, seed=1, log=silent)
    unchanged = contents(demo.root).items() & contents(other.root).items()
    assert {name for name, _ in unchanged} == {"settings.env", "variants.yaml"}


def test_several_processes_draw_the_same_bytes(
    demo: DemoDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset, "_WORTH_PROCESSES", 1)
    monkeypatch.setattr(dataset.os, "cpu_count", lambda: 2)
    assert contents(generate(tmp_path / "data", **TINY, log=silent).root) == contents(demo.root)


def test_a_second_call_draws_nothing(demo: DemoDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset, "_draw", lambda *_: pytest.fail("drew again"))
    again = generate(demo.root, **TINY, log=silent)
    assert not again.drawn
    assert (again.drivers, again.labelled, again.unlabelled) == (demo.drivers, demo.labelled, demo.unlabelled)


def test_a_killed_run_is_repeated_from_the_start(
    demo: DemoDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "data"
    paint, painted = dataset.paint, []

    def killed(scene: object) -> object:
        painted.append(scene)
        if len(painted) > 5:
            raise KeyboardInterrupt
        return paint(scene)

    with monkeypatch.context() as patch:
        patch.setattr(dataset, "paint", killed)
        with pytest.raises(KeyboardInterrupt):
            generate(root, **TINY, log=silent)
    assert len(list(root.glob("imgs/**/*.jpg"))) == 5
    assert not json.loads((root / "demo.json").read_text())["complete"]
    (root / "imgs" / "train" / "c0" / "img_999.jpg").write_bytes(b"half a frame")
    assert generate(root, **TINY, log=silent).drawn
    assert contents(root) == contents(demo.root)


def test_a_killed_drawing_process_ends_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> Iterator[int]:
        yield 1
        raise BrokenProcessPool

    monkeypatch.setattr(dataset, "_mapper", lambda frames: nullcontext(broken))
    with pytest.raises(DistractedError, match=rf"frames into {tmp_path / 'data'} was killed.*same command again"):
        generate(tmp_path / "data", **TINY, log=silent)


def test_images_that_are_not_the_demos_stay_untouched(kaggle_tree: Path) -> None:
    before = contents(kaggle_tree)
    with pytest.raises(DistractedError, match=r"holds images that the demo did not draw.*distracted demo --data"):
        generate(kaggle_tree, **TINY, log=silent)
    assert contents(kaggle_tree) == before


def test_a_demo_of_other_arguments_is_not_mixed_with_this_one(demo: DemoDataset) -> None:
    with pytest.raises(DistractedError, match=r"demo\.json says this demo was drawn with frames=1, not frames=2"):
        generate(demo.root, **(TINY | {"frames": 2}), log=silent)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [({"drivers": 2}, "drivers=2"), ({"drivers": 27}, "drivers=27"), ({"frames": 0}, "frames=0"),
     ({"test_frames": -1}, "test_frames=-1")],
)  # fmt: skip
def test_counts_out_of_range_are_named_and_nothing_is_written(
    tmp_path: Path, wrong: dict[str, int], named: str
) -> None:
    with pytest.raises(DistractedError, match=rf"{named}.*distracted demo"):
        generate(tmp_path / "data", **(TINY | wrong), log=silent)
    assert not (tmp_path / "data").exists()


def test_settings_of_the_root_name_its_models_and_say_that_it_is_drawn(demo: DemoDataset) -> None:
    settings = load_settings({}, data=demo.root)
    assert settings.synthetic
    assert (settings.segmenter, settings.backbone) == ("segmenters/tiny-mask2former", "backbones/tiny-efficientnet")
    for folder in (settings.segmenter, settings.backbone):
        (demo.root / folder).mkdir(parents=True)
    settings = load_settings({}, data=demo.root)
    assert settings.segmenter == str(demo.root / "segmenters" / "tiny-mask2former")
    assert settings.backbone == str(demo.root / "backbones" / "tiny-efficientnet")


def test_unlabelled_frames_show_strangers_and_names_tell_no_class(tmp_path: Path) -> None:
    _, plan = dataset._plan(tmp_path, demo_names := ("p002", "p026", "p014"), 4, 20, 0)
    strangers = {frame.driver for frame in plan if frame.picture.parent.name == "test"}
    assert strangers
    assert strangers.isdisjoint(int(s[1:]) for part in dict(STATE_FARM.split).values() for s in part)
    numbers = [int(frame.picture.stem.removeprefix("img_")) for frame in plan]
    assert sorted(numbers) == list(range(1, len(demo_names) * 40 + 21))
    assert abs(np.corrcoef(numbers, np.arange(len(numbers)))[0, 1]) < 0.3
