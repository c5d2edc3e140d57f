"""Reading a zip's images from several threads: `images.archive`, a `ZipFile` in each thread, a reader of one's own.

    make bench-archive      # python -m distracted_pipeline_tests.benchmarks.bench_archive [state-farm.zip]

All sides read every member in the same run, by turns, with as many threads as `ingest` takes: alone, and with what
`ingest` does to each image (hash it and decode it for a check). Opening the zip counts.
"""

import hashlib
import io
import os
import statistics
import struct
import threading
import time
import zipfile
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import click
from PIL import Image

from distracted_pipeline.demo.drivers import driver_look
from distracted_pipeline.demo.poses import scene_of
from distracted_pipeline.demo.scenes import paint
from distracted_pipeline.images.archive import Archive
from distracted_pipeline.images.decode import verify

Read = Callable[[str], bytes]
Side = Callable[[Path], tuple[list[str], Read, Callable[[], None]]]

CHUNK = 32
LOCAL_HEADER = struct.Struct("<4s22xHH")


def ours(path: Path) -> tuple[list[str], Read, Callable[[], None]]:
    """Open with `images.archive`: one `ZipFile` whose readers wait for each other."""
    archive = Archive(path, path.name)
    return list(archive.members), archive.read, archive.close


def own_reader(path: Path) -> tuple[list[str], Read, Callable[[], None]]:
    """Read the table of contents with `zipfile`, and the members by hand from a file handle in each thread."""
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: info for info in archive.infolist() if not info.is_dir()}
    local, opened = threading.local(), []

    def read(name: str) -> bytes:
        if not hasattr(local, "handle"):
            local.handle = path.open("rb")
            opened.append(local.handle)
        member = members[name]
        local.handle.seek(member.header_offset)
        _, name_length, extra_length = LOCAL_HEADER.unpack(local.handle.read(LOCAL_HEADER.size))
        local.handle.seek(name_length + extra_length, 1)
        data: bytes = local.handle.read(member.compress_size)
        if member.compress_type == zipfile.ZIP_DEFLATED:
            data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, member.file_size + 1)
        if zlib.crc32(data) != member.CRC:
            raise SystemExit(f"{name} is damaged")
        return data

    def close() -> None:
        for handle in opened:
            handle.close()

    return list(members), read, close


def per_thread(path: Path) -> tuple[list[str], Read, Callable[[], None]]:
    """Open one `ZipFile` in each thread, so that the table of contents is read in each."""
    local, opened = threading.local(), [zipfile.ZipFile(path)]

    def read(name: str) -> bytes:
        if not hasattr(local, "archive"):
            local.archive = zipfile.ZipFile(path)
            opened.append(local.archive)
        data: bytes = local.archive.read(name)
        return data

    def close() -> None:
        for archive in opened:
            archive.close()

    return _files(opened[0]), read, close


SIDES: dict[str, Side] = {"ours": ours, "one ZipFile a thread": per_thread, "members by hand": own_reader}


def _files(archive: zipfile.ZipFile) -> list[str]:
    return [info.filename for info in archive.infolist() if not info.is_dir()]


def run(side: Side, path: Path, threads: int, check: bool) -> tuple[float, float, str]:
    """Return wall and CPU seconds of reading every member, and a digest of all that was read."""
    wall, cpu = time.perf_counter(), time.process_time()
    names, read, close = side(path)

    def look(chunk: list[str]) -> bytes:
        digests = []
        for name in chunk:
            data = read(name)
            digests.append(hashlib.sha256(data).digest())
            if check and name.endswith(".jpg"):
                verify(data, name)
        return b"".join(digests)

    with ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(look, [names[i : i + CHUNK] for i in range(0, len(names), CHUNK)]))
    close()
    return time.perf_counter() - wall, time.process_time() - cpu, hashlib.sha256(b"".join(found)).hexdigest()


def deflated(path: Path, folder: Path) -> Path:
    """Return a copy of the zip with its members compressed, as Kaggle's is."""
    copy = folder / "deflated.zip"
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(copy, "w", zipfile.ZIP_DEFLATED) as target:
        for name in _files(source):
            target.writestr(name, source.read(name))
    return copy


def drawn(folder: Path) -> Path:
    """Return a zip of 4,000 frames of the demo's drivers, of 12 different ones."""
    pictures = []
    for number in range(12):
        picture, _ = paint(scene_of(driver_look(number), f"c{number % 10}", number))
        content = io.BytesIO()
        Image.fromarray(picture).save(content, format="JPEG", quality=90)
        pictures.append(content.getvalue())
    path = folder / "drawn.zip"
    with zipfile.ZipFile(path, "w") as target:
        for number in range(4_000):
            target.writestr(f"imgs/train/c{number % 10}/img_{number}.jpg", pictures[number % len(pictures)])
    return path


@click.command()
@click.argument("path", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--turns", default=5, show_default=True, help="How often each side reads everything.")
def main(path: Path | None, turns: int) -> None:
    """Print medians of wall and CPU time for every side, on a zip or on 4,000 drawn frames of 640x480."""
    threads = min(16, (os.cpu_count() or 1) + 1)
    with TemporaryDirectory() as folder:
        path = path or drawn(Path(folder))
        for what, archive in (("stored", path), ("deflated", deflated(path, Path(folder)))):
            for check in (False, True):
                found: dict[str, list[tuple[float, float, str]]] = {name: [] for name in SIDES}
                for _ in range(turns):
                    for name, side in SIDES.items():
                        found[name].append(run(side, archive, threads, check))
                digests = {digest for results in found.values() for _, _, digest in results}
                if len(digests) > 1:
                    raise SystemExit("the sides read different bytes")
                click.echo(f"{what}, {threads} threads, {'read, hash and check' if check else 'read and hash'}:")
                for name, results in found.items():
                    wall = statistics.median(result[0] for result in results)
                    cpu = statistics.median(result[1] for result in results)
                    click.echo(f"  {name:<22} {wall:6.2f} s by the clock, {cpu:6.2f} CPU s")


if __name__ == "__main__":
    main()
