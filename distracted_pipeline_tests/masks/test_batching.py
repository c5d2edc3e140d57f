"""Images on their way through the device: sizes, memory, threads, bugs."""

import json
import re
import shutil
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.images.ingest import ingest
from distracted_pipeline.images.manifest import read_manifest
from distracted_pipeline.masks.fill import fill_missing, fill_subject
from distracted_pipeline.options import RunOptions
from distracted_pipeline.settings import Settings
from distracted_pipeline_tests.conftest import draw_frame, write_kaggle_tree
from distracted_pipeline_tests.masks.conftest import QUIET, Bright, bright_cache, quiet


def test_sizes_are_never_mixed_in_a_batch_and_each_mask_has_its_image_s_size(tmp_path: Path) -> None:
    write_kaggle_tree(tmp_path, drivers=("p002",), frames=1, test_frames=0)
    for i, path in enumerate(sorted((tmp_path / "imgs" / "train").rglob("*.jpg"))):
        with Image.open(path) as image:
            resized = image.resize((64 + 2 * (i % 7), 48))
        resized.save(path)
    frames = Settings(data=tmp_path)
    ingest(frames, log=quiet)
    assert fill_subject(frames, "p002", options=RunOptions(batch_size=2, log=quiet), segmenter=Bright()).done == 10
    cache = bright_cache(frames)
    for row in read_manifest(frames).to_pylist():
        assert cache.mask(row["img"]).shape == (row["height"], row["width"])


def test_out_of_memory_halves_the_batch_says_so_and_loses_nothing(frames: Settings) -> None:
    lines: list[str] = []
    tight = Bright(most=3)
    result = fill_subject(frames, "p002", options=RunOptions(batch_size=16, log=lines.append), segmenter=tight)
    assert result.done == 20
    assert sum(tight.batches) == 20
    assert max(tight.batches) == 2
    assert [line for line in lines if "out of memory" in line] == [
        "out of memory with 16 images at once: going on with 8",
        "out of memory with 8 images at once: going on with 4",
        "out of memory with 4 images at once: going on with 2",
    ]


def test_image_that_never_fits_is_an_error_with_a_remedy(frames: Settings) -> None:
    with pytest.raises(DistractedError, match=r"not even one image .* fits.*DISTRACTED_SEGMENTER"):
        fill_subject(frames, "p002", options=QUIET, segmenter=Bright(most=0))


def test_out_of_memory_on_a_gpu_is_recognised_and_frees_the_failed_batch_before_the_next(frames: Settings) -> None:
    held: list[weakref.ref[object]] = []

    class Activations:
        pass

    class Gpu(Bright):
        def segment(self, images: Sequence[np.ndarray], names: Sequence[str]) -> list[np.ndarray]:
            activations = Activations()  # a local of the failing call: an exception's traceback would keep it
            held.append(weakref.ref(activations))
            if len(images) > 4:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB")
            return super().segment(images, names)

    alive: list[bool] = []

    def log(line: str) -> None:
        if "out of memory" in line:
            alive.append(held[-1]() is not None)

    assert fill_subject(frames, "p002", options=RunOptions(batch_size=16, log=log), segmenter=Gpu()).done == 20
    assert alive == [False, False]


def test_finding_the_batch_size_may_run_out_of_memory_too(frames: Settings) -> None:
    class Small(Bright):
        fits = False

        def prepare(self, image: np.ndarray, name: str) -> np.ndarray:
            return image

        def forward(self, prepared: Sequence[np.ndarray]) -> list[np.ndarray]:
            if not self.fits:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            assert len(prepared) == 1
            return super().segment(prepared, ["x"])

        def finish(self, raw: np.ndarray, size: tuple[int, int]) -> np.ndarray:
            return raw

        def batch_size(self, prepared: np.ndarray) -> int:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    with pytest.raises(DistractedError, match=r"not even one image .* fits.*DISTRACTED_SEGMENTER"):
        fill_subject(frames, "p002", options=QUIET, segmenter=Small())
    small = Small()
    small.fits = True  # one at a time
    assert fill_subject(frames, "p002", options=QUIET, segmenter=small).done == 20


def test_all_subjects_pass_in_one_thread_in_batches_measured_once(frames: Settings) -> None:
    """A thread plans its convolutions once, and no other thread knows of it."""
    threads: set[int] = set()
    measured: list[int] = []

    class Staged(Bright):
        def prepare(self, image: np.ndarray, name: str) -> np.ndarray:
            return image

        def forward(self, prepared: Sequence[np.ndarray]) -> list[np.ndarray]:
            threads.add(threading.get_ident())
            return super().segment(prepared, [])

        def finish(self, raw: np.ndarray, size: tuple[int, int]) -> np.ndarray:
            return raw

        def batch_size(self, prepared: np.ndarray) -> int:
            threads.add(threading.get_ident())
            measured.append(1)
            return 8

    results = fill_missing(frames, options=QUIET, segmenter=Staged())
    assert sum(result.done for result in results.values()) > 40
    assert len(results) > 2
    assert len(threads) == 1
    assert threading.get_ident() not in threads
    assert measured == [1]


def test_a_frame_that_the_processor_or_the_model_cannot_take_costs_only_itself(
    tmp_path: Path, tiny_mask2former: Path
) -> None:
    write_kaggle_tree(tmp_path / "data", drivers=("p002",), frames=1, test_frames=0)
    folder = shutil.copytree(tiny_mask2former, tmp_path / "model")
    facts = json.loads((folder / "preprocessor_config.json").read_text())
    facts["size"] = {"shortest_edge": 64, "longest_edge": 96}
    (folder / "preprocessor_config.json").write_text(json.dumps(facts))
    train = tmp_path / "data" / "imgs" / "train"
    Image.new("RGB", (5000, 1)).save(train / "c0" / "img_1.jpg")
    Image.new("RGB", (2, 3000)).save(train / "c4" / "img_5.jpg")
    settings = Settings(data=tmp_path / "data", segmenter=str(folder))
    ingest(settings, log=quiet)
    result = fill_subject(settings, "p002", options=QUIET)
    assert result.error == ""
    assert (result.done, set(result.failed)) == (8, {"img_1.jpg", "img_5.jpg"})
    assert "the model cannot take 5000x1 pixels (ValueError: " in result.failed["img_1.jpg"]
    again = fill_subject(settings, "p002", options=QUIET)
    assert (again.done, again.reused, set(again.failed)) == (0, 8, set(result.failed))


class Choosy(Bright):
    """Fails for narrow images, for others too where `broken`."""

    def __init__(self, error: Exception, broken: bool = False) -> None:
        super().__init__()
        self.error, self.broken = error, broken

    def segment(self, images: Sequence[np.ndarray], names: Sequence[str]) -> list[np.ndarray]:
        if self.broken or images[0].shape[1] < 20:
            raise self.error
        return super().segment(images, names)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RuntimeError("kernel size"), r"cannot take 16x48 pixels \(RuntimeError: kernel size\)"),
        (MemoryError("out of memory"), r"cannot take 16x48 pixels \(MemoryError"),
        (DistractedError("no map for it"), "^no map for it$"),
    ],
)
def test_a_model_s_refusal_of_one_shape_is_no_failure_of_the_model(
    frames: Settings, error: Exception, reason: str
) -> None:
    for number in (1, 2, 7):
        path = next((frames.data / "imgs" / "train").rglob(f"img_{number}.jpg"))
        draw_frame(0, 0, number, (16, 48)).save(path)
    ingest(frames, log=quiet)
    result = fill_subject(frames, "p002", options=QUIET, segmenter=Choosy(error))
    assert (result.done, set(result.failed)) == (17, {"img_1.jpg", "img_2.jpg", "img_7.jpg"})
    assert all(re.search(reason, why) for why in result.failed.values())


def test_a_model_that_fails_ordinary_frames_too_is_no_matter_of_the_frame(frames: Settings) -> None:
    with pytest.raises(RuntimeError, match="broken driver"):
        fill_subject(frames, "p002", options=QUIET, segmenter=Choosy(RuntimeError("broken driver"), broken=True))


def test_time_is_told_by_stage(ingested: Settings) -> None:
    result = fill_subject(ingested, "p002", options=QUIET)
    assert set(result.cpu) == {
        "read and hash", "decode", "preprocess", "model", "post-process", "encode", "write"
    }  # fmt: skip
    assert all(seconds > 0 for seconds in result.cpu.values())
    assert 0 < result.model_seconds < result.seconds
    assert fill_subject(ingested, "p002", options=QUIET).cpu == {}


def test_other_colour_modes_and_turned_images_get_upright_masks(settings: Settings) -> None:
    folder = settings.data / "imgs" / "train"
    turned = Image.Exif()
    turned[0x0112] = 6
    draw_frame(0, 0, 0).convert("L").save(folder / "c0" / "img_1.jpg")
    draw_frame(0, 0, 0).convert("CMYK").save(folder / "c0" / "img_2.jpg")
    draw_frame(0, 1, 0).save(folder / "c1" / "img_3.jpg", exif=turned)
    Image.new("RGBA", (64, 48)).save(folder / "c1" / "img_4.jpg", "PNG")
    Image.new("L", (10_000, 10_000)).save(folder / "c2" / "img_5.jpg")
    ingest(settings, log=quiet)
    bad = {row["img"] for row in read_manifest(settings).to_pylist() if row["status"] != "ok"}
    assert bad == {"img_4.jpg", "img_5.jpg"}
    result = fill_subject(settings, "p002", options=QUIET, segmenter=Bright())
    assert (result.done, result.failed) == (18, {})
    cache = bright_cache(settings)
    assert [cache.mask(f"img_{i}.jpg").shape for i in (1, 2, 3)] == [(48, 64), (48, 64), (64, 48)]


def test_bug_in_a_segmenter_is_not_hidden(frames: Settings) -> None:
    class Wrong(Bright):
        def segment(self, images: Sequence[np.ndarray], names: Sequence[str]) -> list[np.ndarray]:
            return [np.zeros((3, 3), np.uint8) for _ in images]

    with pytest.raises(ValueError, match="shape"):
        fill_missing(frames, options=QUIET, segmenter=Wrong())
