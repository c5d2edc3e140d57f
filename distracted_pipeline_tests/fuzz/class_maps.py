"""Masks from other tools: NPZ and PNG class maps, COCO's panoptic JSON and its pictures."""

import io
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
from hypothesis import strategies as st
from PIL import Image

from distracted_pipeline.dataset import STATE_FARM
from distracted_pipeline.masks.coco import read_panoptic, read_panoptic_png
from distracted_pipeline.masks.label_maps import read_map
from distracted_pipeline_tests.fuzz.mutations import as_json, deep, edited, mutated
from distracted_pipeline_tests.fuzz.reader import Reader, fresh
from distracted_pipeline_tests.fuzz.zips import bomb

_SHAPES = (
    b"(6, 8)",
    b"(60000, 60000)",
    b"(4294967296, 4294967296)",
    b"(-1, 8)",
    b"(48,)",
    b"()",
    b"(0, 8)",
    b"6",
    b"(6, 8, 1)",
)
_TYPES = (
    b"'|u1'",
    b"'<i8'",
    b"'<f8'",
    b"'|O'",
    b"'|b1'",
    b"'<U9'",
    b"'>u2'",
    b"'<M8[s]'",
    b"[('a','<i4')]",
    b"'<c16'",
    b"'|V1000000'",
)
_NPY = (b"\x93NUMPY", b"'descr': ", b"'shape': ", b"'fortran_order': ", b"True", *_SHAPES, *_TYPES)
_PNG = (
    b"IHDR",
    b"PLTE",
    b"IDAT",
    b"IEND",
    b"tRNS",
    b"zTXt",
    b"iTXt",
    b"gAMA",
    b"acTL",
    b"fcTL",
    b"fdAT",
    b"eXIf",
    b"\x89PNG\r\n\x1a\n",
)


def npy_seeds() -> list[bytes]:
    """Return arrays as numpy writes them, in all versions of the format, and with other shapes and types claimed."""
    found = []
    for version, array in (
        ((1, 0), np.zeros((6, 8), np.uint8)),
        ((2, 0), np.ones((6, 8), "<i8")),
        ((3, 0), np.ones(4, bool)),
    ):
        file = io.BytesIO()
        np.lib.format.write_array(file, array, version)
        found.append(file.getvalue())
    plain = found[0]
    return [
        *found,
        *(plain.replace(b"(6, 8)", one) for one in _SHAPES),
        *(plain.replace(b"'|u1'", one) for one in _TYPES),
    ]


def zipped(npy: bytes) -> bytes:
    """Return an array's file in a sound NPZ."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data.npy", npy)
    return file.getvalue()


def png_seeds(modes: tuple[str, ...]) -> list[bytes]:
    """Return small pictures of these modes."""
    found = []
    for mode in modes:
        file = io.BytesIO()
        ids = np.arange(48, dtype=np.uint8).reshape(6, 8) % 7
        picture = Image.fromarray(ids.astype(np.uint16)) if mode == "I;16" else Image.fromarray(ids).convert(mode)
        picture.save(file, "PNG")
        found.append(file.getvalue())
    return found


def with_sums(png: bytes) -> bytes:
    """Return a PNG in which every chunk that is there has its right checksum, so that a reader goes on into it."""
    found, at = bytearray(png), 8
    while at + 12 <= len(found):
        size = int.from_bytes(found[at : at + 4])
        end = at + 8 + size
        if end + 4 > len(found):
            break
        found[end : end + 4] = struct.pack(">I", zlib.crc32(found[at + 4 : end]))
        at = end + 4
    return bytes(found)


def vast_png(width: int, height: int, colours: int = 0) -> bytes:
    """Return a whole picture of zeros, of any size, in few bytes.

    Args:
        width: Pixels.
        height: Pixels.
        colours: PNG's number: 0 is grey, 2 is RGB.
    """
    line = bytes(1 + width * (3 if colours == 2 else 1))
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(line) for _ in range(height)) + packer.flush()
    parts = ((b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colours, 0, 0, 0)), (b"IDAT", packed), (b"IEND", b""))
    chunks = (struct.pack(">I", len(body)) + name + body + bytes(4) for name, body in parts)
    return with_sums(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))


PANOPTIC = {
    "categories": [{"id": 77, "name": "cell phone"}, {"id": 200, "name": "rug-merged"}],
    "images": [{"id": 9, "file_name": "a.jpg", "height": 6, "width": 8}],
    "annotations": [{"image_id": 9, "file_name": "a.png", "segments_info": [{"id": 1, "category_id": 77}]}],
}


def _map(name: str, folder: Path, case: bytes) -> None:
    (fresh(folder) / name).write_bytes(case)
    read_map(folder / name, 6)


def _json(folder: Path, case: bytes) -> None:
    fresh(folder / "coco")
    (folder / "coco" / "a.png").write_bytes(vast_png(8, 6, 2))
    (folder / "coco.json").write_bytes(case)
    found = read_panoptic(folder / "coco.json", STATE_FARM.categories)
    for name in found.pngs:
        found.mask(name)


def _picture(folder: Path, case: bytes) -> None:
    (fresh(folder) / "a.png").write_bytes(case)
    read_panoptic_png(folder / "a.png", {k * 0x010101: k for k in range(256)})


def _jsons() -> st.SearchStrategy[bytes]:
    wrong = mutated([as_json(PANOPTIC), deep(b"["), deep(b'{"a":', b"}")], (b"NaN", b"-Infinity", b"1e999", b"\\ud800"))
    return st.one_of(edited([PANOPTIC]).map(as_json), wrong)


def _npz(folder: Path, case: bytes) -> None:
    _map("a.npz", folder, case)


def _png(folder: Path, case: bytes) -> None:
    _map("a.png", folder, case)


_ZIP = (b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06")
_GREY = ("L", "P", "1", "I;16", "RGB")


def _made_npz() -> dict[str, bytes]:
    return {
        "28 GB of numbers": zipped(npy_seeds()[1].replace(b"(6, 8)", b"(60000, 60000)")),
        "an array as it is": npy_seeds()[0],
        "an empty file": b"",
        "not an array": zipped(b"\0"),
        "a header that ends early": zipped(npy_seeds()[0][:60]),
        "a pickle": zipped(npy_seeds()[0].replace(b"'|u1'", b"'|O'")),
        "256 MiB that claim to be 1,000 bytes": bomb(1_000, 2**28),
    }


def _made_png() -> dict[str, bytes]:
    small = vast_png(8, 6)
    claims = [(60_000, 60_000), (2**31 - 1, 2**31 - 1), (0, 0)]
    found = {f"{w} x {h} pixels": with_sums(small[:16] + struct.pack(">II", w, h) + small[24:]) for w, h in claims}
    return {**found, "a TIFF": b"MM\0*\0\0\0\x08\0\0", "an EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"}


def _made_json() -> dict[str, bytes]:
    far = as_json(PANOPTIC).replace(b"77", b"77" + b"0" * 12)
    lists = as_json(PANOPTIC).replace(b'"image_id": 9', b'"image_id": [9]')
    infinite = as_json(PANOPTIC).replace(b'"id": 77', b'"id": Infinity')
    return {"an id of a trillion": far, "an id that is a list": lists, "infinity": infinite, "deep": deep(b"[")}


READERS = [
    Reader(
        "npz",
        _npz,
        lambda: mutated([zipped(one) for one in npy_seeds()[:3]], _ZIP),
        lambda: [zipped(one) for one in npy_seeds()[:2]],
        memory_mib=192,
        made=_made_npz,
        largest=lambda: {
            "64 MiB of ids": zipped(npy_seeds()[0].replace(b"(6, 8)", b"(8000, 8000)")[:128] + bytes(64_000_000))
        },
    ),
    Reader(
        "npy_in_npz",
        _npz,
        lambda: mutated(npy_seeds(), _NPY).map(zipped),
        lambda: [zipped(one) for one in npy_seeds()[:2]],
        memory_mib=192,
    ),
    Reader(
        "map_png",
        _png,
        lambda: mutated(png_seeds(_GREY), _PNG).map(with_sums),
        lambda: png_seeds(_GREY[:-1]),
        memory_mib=512,
        made=_made_png,
        largest=lambda: {"50 megapixels": vast_png(7_000, 7_100)},
    ),
    Reader("panoptic_json", _json, _jsons, lambda: [as_json(PANOPTIC)], made=_made_json),
    Reader(
        "panoptic_png",
        _picture,
        lambda: mutated(png_seeds(("RGB", "RGBA", "L")), _PNG).map(with_sums),
        lambda: png_seeds(("RGB",)),
        memory_mib=768,
        seconds=60,
        made=_made_png,
        largest=lambda: {"50 megapixels": vast_png(7_000, 7_100, 2)},
    ),
]
