"""JPEG files: headers, EXIF, coded data, and sizes that they only claim."""

import io
from pathlib import Path

from hypothesis import strategies as st
from PIL import Image

from distracted_pipeline.images.decode import decode_rgb, verify
from distracted_pipeline.images.problems import ImageProblem
from distracted_pipeline_tests.conftest import draw_frame
from distracted_pipeline_tests.fuzz.mutations import mutated
from distracted_pipeline_tests.fuzz.reader import Reader

_MARKS = (
    b"\xff\xc0",
    b"\xff\xc2",
    b"\xff\xc4",
    b"\xff\xd8",
    b"\xff\xd9",
    b"\xff\xda",
    b"\xff\xdb",
    b"\xff\xdd",
    b"\xff\xe0",
    b"\xff\xe1",
    b"\xff\xe2",
    b"\xff\xee",
    b"\xff\xfe",
    b"JFIF\0",
    b"Exif\0\0",
    b"MM\0*",
    b"II*\0",
    b"MPF\0",
    b"http://ns.adobe.com/xap/1.0/\0",
    b"ICC_PROFILE\0",
)


def seeds() -> list[bytes]:
    """Return drawn frames: baseline, progressive, grey, of four inks, with EXIF, of a single row."""
    frame = draw_frame(1, 2, 3, (48, 40))
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "drawn"
    kinds: list[tuple[Image.Image, dict[str, object]]] = [
        (frame, {}),
        (frame, {"progressive": True}),
        (frame.convert("L"), {"exif": exif}),
        (frame.convert("CMYK"), {"xmp": b'<x tiff:Orientation="8"/>'}),
        (frame.resize((300, 1)), {"subsampling": 0, "restart_marker_blocks": 1}),
    ]
    found = []
    for image, options in kinds:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=60, **options)
        found.append(file.getvalue())
    return found


def read(folder: Path, case: bytes) -> None:
    """Look at a frame as ingest does, and decode it as every other reader does."""
    for use in (verify, decode_rgb):
        try:
            use(case, "a.jpg")
        except ImageProblem as problem:
            str(problem)


def cases() -> st.SearchStrategy[bytes]:
    """Return damaged frames."""
    return mutated(seeds(), _MARKS)


def _of_size(width: int, height: int) -> bytes:
    """Return a frame that says that it is of this size."""
    frame = seeds()[0]
    at = frame.index(b"\xff\xc0") + 5
    return frame[:at] + height.to_bytes(2) + width.to_bytes(2) + frame[at + 4 :]


def _passes(count: int) -> bytes:
    """Return a progressive frame that comes in so many passes more than it needs."""
    frame = seeds()[1]
    last = frame.rindex(b"\xff\xda")
    return frame[:-2] + frame[last:-2] * count + frame[-2:]


def _made() -> dict[str, bytes]:
    return {
        "3.6 billion pixels": _of_size(60_000, 60_000),
        "no pixels": _of_size(0, 0),
        "10,000 passes": _passes(10_000),
    }


def _largest() -> dict[str, bytes]:
    found = {}
    for mode, options in (("L", {}), ("RGB", {}), ("CMYK", {}), ("CMYK", {"progressive": True})):
        file = io.BytesIO()
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.new(mode, (7_000, 7_100)).save(file, "JPEG", exif=exif, **options)
        found[f"50 megapixels, {mode}, {options}"] = file.getvalue()
    return found


READERS = [
    Reader("jpeg", read, cases, seeds, memory_mib=1_024, seconds=30, made=_made, largest=_largest),
]
