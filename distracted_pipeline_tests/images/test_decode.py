"""Decoding: complete JPEGs give upright RGB, everything else says what it is."""

import io
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.images.decode import ImageReader, decode_rgb, verify
from distracted_pipeline.images.problems import ImageProblem
from distracted_pipeline_tests.conftest import draw_frame


def jpeg(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **options)
    return buffer.getvalue()


FRAME = jpeg(draw_frame(1, 2, 3))


@pytest.mark.parametrize("progressive", [False, True])
def test_every_truncation_is_found(progressive: bool) -> None:
    whole = jpeg(draw_frame(1, 2, 3), progressive=progressive)
    assert verify(whole, "x.jpg")[:2] == (64, 48)
    for length in [*range(0, len(whole), 7), len(whole) - 2, len(whole) - 1]:
        for check in (verify, decode_rgb):
            with pytest.raises(ImageProblem, match=r"^x\.jpg: "):
                check(whole[:length], "x.jpg")


@hypothesis_settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(2, len(FRAME) - 1), st.integers(0, 255)), min_size=1, max_size=20))
def test_damaged_bytes_give_pixels_or_an_image_problem(changes: list[tuple[int, int]]) -> None:
    raw = bytearray(FRAME)
    for position, value in changes:
        raw[position] = value
    for check in (verify, decode_rgb):
        try:
            check(bytes(raw), "x.jpg")
        except ImageProblem as error:
            assert error.status in ("truncated", "damaged", "too large")  # noqa: PT017 (either outcome is right)


def test_bytes_after_the_end_do_no_harm() -> None:
    assert verify(FRAME + b"trailer of a phone" * 500, "x.jpg")[:2] == (64, 48)


@pytest.mark.parametrize("mode", ["L", "CMYK", "RGB"])
def test_every_colour_mode_becomes_rgb(mode: str) -> None:
    data = jpeg(Image.new(mode, (20, 10), 0))
    pixels = decode_rgb(data, "x.jpg")
    assert (pixels.shape, pixels.dtype) == ((10, 20, 3), np.uint8)
    assert pixels.flags.writeable
    assert verify(data, "x.jpg")[:2] == (20, 10)


@pytest.mark.parametrize("kind", ["picture of a phone", "second picture, whole", "second picture, cut", "a scan"])
def test_only_the_picture_itself_must_be_whole(kind: str) -> None:
    second = jpeg(draw_frame(4, 5, 6), progressive=True)
    tail = {
        "picture of a phone": b"\xff\xda some bytes of a maker",
        "second picture, whole": second,
        "second picture, cut": second[: len(second) // 2],
        "a scan": b"\xff\xda" * 9,
    }[kind]
    for progressive in (False, True):
        picture = jpeg(draw_frame(1, 2, 3), progressive=progressive)
        assert verify(picture + tail, "x.jpg")[:2] == (64, 48)
        np.testing.assert_array_equal(decode_rgb(picture + tail, "x.jpg"), decode_rgb(picture, "x.jpg"))
        with pytest.raises(ImageProblem, match=r"^x\.jpg: "):
            verify(picture[:-2] + tail, "x.jpg")


def test_a_stereo_picture_is_its_first() -> None:
    buffer = io.BytesIO()
    draw_frame(1, 2, 3).save(buffer, "MPO", save_all=True, append_images=[draw_frame(4, 5, 6)])
    whole = buffer.getvalue()
    for data in (whole, whole[:-300]):
        assert verify(data, "x.jpg")[:2] == (64, 48)
        np.testing.assert_array_equal(decode_rgb(data, "x.jpg"), decode_rgb(whole, "x.jpg"))


def test_an_end_inside_a_thumbnail_is_not_the_picture_s() -> None:
    exif = Image.Exif()
    exif[0x9286] = b"\xff\xd8\xff\xda coded \xff\xd9"
    data = jpeg(draw_frame(1, 2, 3), exif=exif)
    assert b"\xff\xd9" in data[:200]
    assert verify(data, "x.jpg")[:2] == (64, 48)
    with pytest.raises(ImageProblem):
        verify(data[:-2], "x.jpg")


def xmp(orientation: int, style: str) -> bytes:
    """Return an XMP packet that says the orientation as an attribute or as an element."""
    said = f'tiff:Orientation="{orientation}"' if style == "attribute" else ""
    inside = f"<tiff:Orientation>{orientation}</tiff:Orientation>" if style == "element" else ""
    return (
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description {said}>{inside}</rdf:Description></x:xmpmeta>'.encode()
    )


@pytest.mark.parametrize("where", ["exif", "attribute", "element", "exif before attribute"])
@pytest.mark.parametrize("orientation", range(10))
def test_orientation_is_applied_as_pillow_does(orientation: int, where: str) -> None:
    exif = Image.Exif()
    if "exif" in where:
        exif[0x0112] = orientation
    said = {} if where == "exif" else {"xmp": xmp(3 if "exif" in where else orientation, where.split()[-1])}
    data = jpeg(draw_frame(1, 2, 3), exif=exif, **said)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
    pixels = decode_rgb(data, "x.jpg")
    np.testing.assert_array_equal(pixels, expected)
    assert verify(data, "x.jpg")[:2] == (pixels.shape[1], pixels.shape[0])


def test_damaged_exif_does_not_cost_the_image() -> None:
    data = jpeg(draw_frame(1, 2, 3), exif=b"Exif\0\0MM\0*\xff\xff\xff\xff nonsense")
    assert decode_rgb(data, "x.jpg").shape == (48, 64, 3)


def test_a_reader_gives_the_same_from_folder_and_zip_in_any_thread(tmp_path: Path) -> None:
    frames = {f"imgs/test/img_{n}.jpg": jpeg(draw_frame(n, n, n)) for n in range(24)}
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in frames.items():
            archive.writestr(name, data)
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(data)
    with ImageReader(tmp_path) as reader, ThreadPoolExecutor(4) as pool:
        for name, data, unpacked, packed in zip(
            frames,
            frames.values(),
            pool.map(reader.bytes, frames),
            pool.map(reader.bytes, [f"a.zip::{n}" for n in frames]),
            strict=True,
        ):
            assert unpacked == packed == data
            np.testing.assert_array_equal(reader.rgb(f"a.zip::{name}"), decode_rgb(data, name))


@pytest.mark.parametrize("path", ["../x.jpg", "/etc/passwd", "imgs/../../x.jpg", "a\0.jpg", "../a.zip::x.jpg"])
def test_a_path_out_of_the_data_root_is_refused(tmp_path: Path, path: str) -> None:
    with ImageReader(tmp_path) as reader, pytest.raises(ImageProblem, match="leaves the data root"):
        reader.bytes(path)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x.jpg", FRAME)
    with ImageReader(tmp_path) as reader:
        with pytest.raises(ImageProblem, match="no such file") as missing:
            reader.rgb("imgs/test/img_1.jpg")
        assert missing.value.status == "no file"
        with pytest.raises(ImageProblem, match="no such member"):
            reader.bytes("a.zip::y.jpg")
        with pytest.raises(DistractedError, match=r"b\.zip: cannot be read as a zip"):
            reader.bytes("b.zip::x.jpg")


def test_a_file_beyond_the_limit_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("archive", "decode"):
        monkeypatch.setattr(f"distracted_pipeline.images.{module}.MAX_BYTES", 100)
    (tmp_path / "x.jpg").write_bytes(FRAME)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x.jpg", FRAME)
    with ImageReader(tmp_path) as reader:
        for path in ("x.jpg", "a.zip::x.jpg"):
            with pytest.raises(ImageProblem) as refused:
                reader.bytes(path)
            assert refused.value.status == "too large"


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_unusual_packing_says_to_unpack(tmp_path: Path, method: int) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", method) as archive:
        archive.writestr("x.jpg", FRAME)
    with ImageReader(tmp_path) as reader, pytest.raises(ImageProblem, match="unpack the zip"):
        reader.bytes("a.zip::x.jpg")
