"""Zip archives of frames: their table of contents, their members, and the csv in them."""

import io
import zipfile
import zlib
from contextlib import closing
from functools import cache
from pathlib import Path

from hypothesis import strategies as st

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.images.decode import ImageReader
from distracted_pipeline.images.problems import ImageProblem
from distracted_pipeline.images.source import find_source
from distracted_pipeline.settings import Settings
from distracted_pipeline_tests.fuzz.mutations import mutated
from distracted_pipeline_tests.fuzz.reader import Reader, fresh

_MARKS = (
    b"PK\x03\x04",
    b"PK\x01\x02",
    b"PK\x05\x06",
    b"PK\x06\x06",
    b"PK\x06\x07",
    b"PK\x07\x08",
    b"imgs/train/",
    b"../",
)


def _archive(method: int, **members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/"), content)
    return file.getvalue()


def seeds() -> list[bytes]:
    """Return small archives: stored, packed, with names beyond ASCII, with a comment, of the large kind (zip64)."""
    rows = b"subject,classname,img\np1,c0,a.jpg\np2,c1,b.jpg\n"
    members = {"imgs__train__c0__a.jpg": b"\xff\xd8" + bytes(40), "imgs__test__b.jpg": b"\xff\xd8\xff\xd9"}
    found = [_archive(method, **members, **{"driver_imgs_list.csv": rows}) for method in (0, 8, 12, 14)]
    found.append(_archive(8, **{"x__imgs__train__c1__é.jpg": b"a" * 3_000, "driver_imgs_list.csv": rows}))
    large = io.BytesIO()
    with zipfile.ZipFile(large, "w") as archive, archive.open("imgs/train/c0/a.jpg", "w", force_zip64=True) as member:
        member.write(b"abc")
    return [*found, large.getvalue()]


@cache
def bomb(claimed: int, real: int) -> bytes:
    """Return an archive with a csv and a frame that say they are of `claimed` bytes and unpack to `real`."""
    packer = zlib.compressobj(1, zlib.DEFLATED, -15)
    packed = b"".join(packer.compress(bytes(2**20)) for _ in range(real // 2**20)) + packer.flush()
    data = bytearray(_archive(0, **{"imgs__train__c0__a.jpg": packed, "driver_imgs_list.csv": packed}))
    for mark, method, size in ((b"PK\x03\x04", 8, 22), (b"PK\x01\x02", 10, 24)):
        at = data.find(mark)
        while at >= 0:
            data[at + method : at + method + 2] = (8).to_bytes(2, "little")
            data[at + size : at + size + 4] = claimed.to_bytes(4, "little")
            at = data.find(mark, at + 1)
    return bytes(data)


def read(folder: Path, case: bytes) -> None:
    """Find the frames and labels of an archive, and read every frame."""
    (fresh(folder) / "frames.zip").write_bytes(case)
    with closing(find_source(Settings(data=folder))) as source, ImageReader(folder) as reader:
        source.labels()
        for frame in source.frames:
            try:
                reader.bytes(frame.path)
            except ImageProblem as problem:
                str(problem)


def frames_only(folder: Path, case: bytes) -> None:
    """Likewise where the csv lies beside the archive."""
    (fresh(folder) / "driver_imgs_list.csv").write_bytes(b"subject,classname,img\np1,c0,a.jpg\n")
    try:
        read(folder, case)
    except DistractedError as error:
        str(error)
        raise


def cases() -> st.SearchStrategy[bytes]:
    """Return damaged archives."""
    return mutated(seeds(), _MARKS)


def _made() -> dict[str, bytes]:
    return {"256 MiB that claim to be 1,000 bytes": bomb(1_000, 2**28), "terabytes": bomb(2**32 - 1, 2**20)}


def _with_frames() -> list[bytes]:
    return [_archive(method, **{"imgs__train__c0__a.jpg": b"\xff\xd8"}) for method in (0, 8)]


READERS = [
    Reader("zip", read, cases, lambda: [*seeds()[:2], seeds()[4]], memory_mib=192, made=_made),
    Reader("zip_beside_csv", frames_only, cases, _with_frames, memory_mib=192, made=_made),
]
