"""The tap cache: right numbers in the right order, computed once, never stale, never half."""

import os
import shutil
import threading
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.features import row_lists
from distracted_pipeline.features.plan import fill_subject, is_filled, wanted_taps
from distracted_pipeline.features.taps import TapStore
from distracted_pipeline.images.decode import ImageReader
from distracted_pipeline.images.ingest import ingest
from distracted_pipeline.images.manifest import of_subject, read_manifest
from distracted_pipeline.options import RunOptions
from distracted_pipeline.settings import Settings
from distracted_pipeline.variants.backbones import load_backbone, load_preprocessing
from distracted_pipeline_tests.conftest import draw_frame

TAPS = ("pooled", "last_block", "block3_input", "pixels")


def quiet(line: str) -> None:
    """Drop a log line."""


QUIET = RunOptions(device="cpu", log=quiet)


def own_images(settings: Settings) -> list[str]:
    return list(of_subject(read_manifest(settings), "p002")["img"].to_pylist())


def direct(settings: Settings, imgs: list[str]) -> dict[str, torch.Tensor]:
    """The taps of images without any cache, one image at a time."""
    table = read_manifest(settings)
    path_of = dict(zip(table["img"].to_pylist(), table["path"].to_pylist(), strict=True))
    backbone = load_backbone(settings)
    rows = []
    with ImageReader(settings.data) as reader, torch.no_grad():
        for img in imgs:
            pixels = torch.from_numpy(backbone.preprocessing.resize(reader.rgb(path_of[img])))[None]
            found = backbone.trunk.taps(backbone.preprocessing.normalise(pixels), TAPS[:3])
            rows.append({**found, "pixels": pixels})
    return {tap: torch.cat([row[tap] for row in rows]) for tap in TAPS}


def test_cached_taps_are_those_of_the_images_in_any_order(prepared: Settings) -> None:
    store = TapStore(prepared)
    for subject in ("p012", "p081"):
        store.ensure(subject, TAPS, RunOptions(device="cpu", batch_size=7, log=quiet))
    table = read_manifest(prepared)
    imgs = [*of_subject(table, "p081")["img"].to_pylist()[:3], *of_subject(table, "p012")["img"].to_pylist()[5:8]]
    np.random.default_rng(0).shuffle(imgs)
    found = store.load(TAPS, imgs)
    for tap, expected in direct(prepared, imgs).items():
        assert found[tap].dtype == (np.uint8 if tap == "pixels" else np.float16)
        assert np.allclose(found[tap], expected.numpy(), rtol=2e-3, atol=2e-3), tap


def test_what_is_there_is_not_computed_again_and_what_is_missing_is_added(own_root: Settings) -> None:
    store = TapStore(own_root)
    first = store.ensure("p002", ("pooled",), QUIET)
    stamp = (store.folder("p002") / "pooled.npy").stat().st_mtime_ns
    second = TapStore(own_root).ensure("p002", ("pooled", "last_block"), QUIET)
    assert (first.computed, first.reused) == (("pooled",), ())
    assert (second.computed, second.reused) == (("last_block",), ("pooled",))
    assert (store.folder("p002") / "pooled.npy").stat().st_mtime_ns == stamp
    assert TapStore(own_root).missing("p002", ("pooled", "last_block")) == []


def test_a_tap_added_later_is_that_of_the_images_and_opens_none_where_their_pixels_are_cached(
    own_root: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = TapStore(own_root)
    together.ensure("p002", TAPS, QUIET)
    at_once = {tap: (together.folder("p002") / f"{tap}.npy").read_bytes() for tap in TAPS}
    shutil.rmtree(together.root)
    TapStore(own_root).ensure("p002", ("pixels",), QUIET)
    monkeypatch.setattr(ImageReader, "bytes", lambda reader, path: pytest.fail(f"opened {path}"))
    later = TapStore(own_root)
    later.ensure("p002", TAPS, QUIET)
    assert {tap: (later.folder("p002") / f"{tap}.npy").read_bytes() for tap in TAPS} == at_once


def test_taps_in_another_order_stay_and_what_is_added_lies_in_that_order(own_root: Settings) -> None:
    """An earlier version's lay by class, so a corrected label had all of a driver's computed again."""
    first = ("pooled", "pixels")
    store = TapStore(own_root)
    store.ensure("p002", first, QUIET)
    folder = store.folder("p002")
    for tap in first:
        np.save(folder / f"{tap}.npy", np.load(folder / f"{tap}.npy")[::-1])
    rows = of_subject(read_manifest(own_root), "p002").sort_by([("img", "descending")])
    row_lists.write(folder, rows, "fp32", first)
    assert TapStore(own_root).ensure("p002", (*first, "last_block"), QUIET).computed == ("last_block",)
    imgs = own_images(own_root)[3:6]
    found = TapStore(own_root).load((*first, "last_block"), imgs)
    expected = direct(own_root, imgs)
    for tap, values in found.items():
        assert np.allclose(values, expected[tap].numpy(), rtol=2e-3, atol=2e-3), tap


def test_nothing_is_loaded_when_nothing_is_missing(own_root: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    TapStore(own_root).ensure("p002", TAPS, QUIET)
    monkeypatch.setattr("distracted_pipeline.features.taps.load_backbone", lambda *a: pytest.fail("loaded a backbone"))
    assert TapStore(own_root).ensure("p002", TAPS, QUIET).computed == ()


def test_a_changed_image_makes_the_subjects_taps_stale(own_root: Settings) -> None:
    store = TapStore(own_root)
    store.ensure("p002", ("pooled",), QUIET)
    store.ensure("p012", ("pooled",), QUIET)
    victim = of_subject(read_manifest(own_root), "p002")
    before = store.load(("pooled",), [victim["img"][0].as_py()])["pooled"].copy()
    draw_frame(7, 9, 55).save(own_root.data / victim["path"][0].as_py(), quality=92)
    ingest(own_root, log=quiet)
    fresh = TapStore(own_root)
    assert fresh.missing("p002", ("pooled",)) == ["pooled"]
    assert fresh.missing("p012", ("pooled",)) == []
    with pytest.raises(DistractedError, match=r'tap pooled of subject p002 .*--select features --partition "p002"'):
        fresh.load(("pooled",), [victim["img"][0].as_py()])
    fresh.ensure("p002", ("pooled",), QUIET)
    assert not np.allclose(fresh.load(("pooled",), [victim["img"][0].as_py()])["pooled"], before)


def test_another_backbone_has_another_folder(own_root: Settings, other_families: dict[str, Path]) -> None:
    mobile = TapStore(own_root, str(other_families["mobilenet_v2"]))
    mobile.ensure("p002", ("pooled", "pixels"), QUIET)
    assert mobile.fingerprint != TapStore(own_root).fingerprint
    assert TapStore(own_root).missing("p002", ("pooled",)) == ["pooled"]
    with pytest.raises(DistractedError, match=r"mobilenet_v2 has no tap 'last_block'"):
        mobile.ensure("p002", ("last_block",), QUIET)


def test_a_failed_pass_leaves_no_tap_and_no_temporary(own_root: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    store = TapStore(own_root)
    trunk = store._trunk
    calls = iter(range(10))
    real = trunk.taps
    monkeypatch.setattr(trunk, "taps", lambda x, names: real(x, names) if next(calls) < 1 else 1 / 0)
    with pytest.raises(ZeroDivisionError):
        store.ensure("p002", ("pooled",), RunOptions(device="cpu", batch_size=8, log=quiet))
    assert [path.name for path in store.folder("p002").iterdir()] == [".lock"]
    assert store.missing("p002", ("pooled",)) == ["pooled"]


def test_temporaries_of_a_killed_writer_are_swept(own_root: Settings) -> None:
    store = TapStore(own_root)
    store.folder("p002").mkdir(parents=True)
    stale = store.folder("p002") / ".pooled.npy.99999.part"
    stale.write_bytes(b"half")
    store.ensure("p002", ("pooled",), QUIET)
    assert not stale.exists()


def test_two_writers_of_one_subject_compute_it_once(own_root: Settings) -> None:
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(TapStore(own_root).ensure("p002", ("pooled",), QUIET)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(result.computed for result in results) == [(), ("pooled",)]


def test_a_truncated_image_is_named(own_root: Settings) -> None:
    row = of_subject(read_manifest(own_root), "p002")
    path = own_root.data / row["path"][3].as_py()
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DistractedError, match=path.name):
        TapStore(own_root).ensure("p002", ("pooled",), QUIET)


def test_unknown_subjects_and_images_are_named(prepared: Settings) -> None:
    with pytest.raises(DistractedError, match="subject 'p999' has no usable image"):
        TapStore(prepared).ensure("p999", ("pooled",), QUIET)
    with pytest.raises(DistractedError, match=r"nobody\.jpg is not in"):
        TapStore(prepared).load(("pooled",), ["nobody.jpg"])


def test_the_plan_names_every_tap_once_and_the_variants_it_cannot_serve(
    prepared: Settings, other_families: dict[str, Path]
) -> None:
    taps, skipped = wanted_taps(prepared)
    assert taps == {None: ["pooled", "last_block", "pixels", "block3_input"]}
    assert skipped == []
    mobile = Settings(data=prepared.data, backbone=str(other_families["mobilenet_v2"]))
    taps, skipped = wanted_taps(mobile)
    assert taps == {None: ["pooled", "pixels"]}
    assert [line.split(":")[0] for line in skipped] == ["top_only", "adapter_serial", "adapter_parallel"]


def test_filling_covers_drivers_and_leaves_test_shards_alone(own_root: Settings) -> None:
    assert not is_filled(own_root, "p002")
    filled = fill_subject(own_root, "p002", QUIET)
    assert filled.images == 20
    assert len(filled.computed) == 4
    assert is_filled(own_root, "p002")
    assert is_filled(own_root, "test-000")
    assert fill_subject(own_root, "test-000", QUIET).images == 0


def test_pixels_are_those_of_the_processors_size(own_root: Settings) -> None:
    store = TapStore(own_root)
    store.ensure("p002", ("pixels",), QUIET)
    shutil.rmtree(own_root.data / "imgs")  # the cache alone must do
    img = of_subject(read_manifest(own_root), "p002")["img"][0].as_py()
    height, width = load_preprocessing(own_root).size
    assert store.load(("pixels",), [img])["pixels"].shape == (1, 3, height, width)


def labels(store: TapStore, subject: str) -> bytes | None:
    """The precision that a subject's taps say they have."""
    return (pq.read_schema(store.folder(subject) / "rows.parquet").metadata or {}).get(b"precision")


def test_auto_follows_the_taps_that_are_there_and_another_precision_is_refused_with_the_remedy(
    own_root: Settings,
) -> None:
    store = TapStore(own_root)
    shutil.rmtree(store.root, ignore_errors=True)  # what other tests have filled
    store.ensure("p002", ("pooled",), RunOptions(device="cpu", precision="bf16", log=quiet))
    store.ensure("p012", ("pooled",), QUIET)
    assert labels(store, "p002") == labels(store, "p012") == b"bf16"
    with pytest.raises(
        DistractedError, match=r"made in bf16, so none in fp32 .*precision to auto or bf16, or delete.*distracted run"
    ):
        store.ensure("p014", ("pooled",), RunOptions(device="cpu", precision="fp32", log=quiet))
    assert store.missing("p014", ("pooled",)) == ["pooled"]
    assert (
        store.ensure("p002", ("pooled",), RunOptions(device="cpu", precision="fp32", log=quiet)).computed == ()
    )  # nothing to mix
    shutil.rmtree(store.root)
    store.ensure("p014", ("pooled",), RunOptions(device="cpu", precision="fp32", log=quiet))
    assert labels(store, "p014") == b"fp32"


def test_taps_that_do_not_say_the_folders_precision_are_missing(own_root: Settings) -> None:
    store = TapStore(own_root)
    for subject in ("p002", "p012", "p014"):
        store.ensure(subject, ("pooled", "pixels"), QUIET)
    rows = pq.read_table(store.folder("p002") / "rows.parquet", partitioning=None)
    pq.write_table(rows.replace_schema_metadata(None), store.folder("p002") / "rows.parquet")  # an earlier version's
    pq.write_table(rows.replace_schema_metadata({"precision": "bf16"}), store.folder("p012") / "rows.parquet")
    fresh = TapStore(own_root)
    for subject in ("p002", "p012"):
        assert fresh.missing(subject, ("pooled", "pixels")) == ["pooled", "pixels"]
    assert fresh.missing("p014", ("pooled", "pixels")) == []
    assert fresh.ensure("p002", ("pooled",), QUIET).computed == ("pooled",)
    assert fresh.missing("p002", ("pooled", "pixels")) == ["pixels"]  # what was there before is gone, not mixed


def test_an_image_that_changed_since_ingest_is_refused_and_one_run_later_all_is_well(
    own_root: Settings,
) -> None:
    rows = of_subject(read_manifest(own_root), "p002").slice(0, 2).to_pylist()
    for row in rows:
        path = own_root.data / row["path"]
        status, data = path.stat(), bytearray(path.read_bytes())
        data[-3] ^= 1  # the last coded byte: the image still decodes
        path.write_bytes(data)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(DistractedError, match=r"2 of 20 images of p002 have changed .*SHA-256.*distracted run"):
        TapStore(own_root).ensure("p002", ("pooled",), QUIET)
    assert TapStore(own_root).missing("p002", ("pooled",)) == ["pooled"]
    ingest(own_root, log=quiet)
    assert TapStore(own_root).ensure("p002", ("pooled",), QUIET).images == 20


def test_content_stays_while_nothing_changes_and_is_empty_while_a_tap_is_missing(own_root: Settings) -> None:
    store = TapStore(own_root)
    assert store.content("p002", ("pooled",)) == ""
    store.ensure("p002", ("pooled",), QUIET)
    before = store.content("p002", ("pooled",))
    assert store.content("p002", ("pooled", "pixels")) == ""
    store.ensure("p002", ("pooled", "pixels"), QUIET)
    assert TapStore(own_root).content("p002", ("pooled",)) == before
    assert store.content("p002", ("pooled", "pixels")) not in ("", before)
    store.ensure("p012", ("pooled",), QUIET)
    assert store.content("p012", ("pooled",)) not in ("", before)
    shutil.rmtree(store.root)
    store.ensure("p002", ("pooled",), RunOptions(device="cpu", precision="bf16", log=quiet))
    assert store.content("p002", ("pooled",)) not in ("", before)


def test_no_device_is_claimed_while_nothing_is_missing(own_root: Settings) -> None:
    TapStore(own_root).ensure("p002", ("pooled",), QUIET)
    unwanted = RunOptions(device=lambda: pytest.fail("claimed a device"), log=quiet)
    assert TapStore(own_root).ensure("p002", ("pooled",), unwanted).computed == ()
