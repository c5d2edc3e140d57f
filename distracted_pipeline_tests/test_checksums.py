"""Whether a file is as it was written: sealed by itself, or listed with its digest."""

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from distracted_pipeline.checksums import CHECKSUM, all_as_listed, file_digest, is_whole, seal
from distracted_pipeline.files import read_json, write_json, write_parquet

VALUE = {"name": "a", "numbers": [1, 2, 3]}


def write(path: Path, metadata: dict[str, str] | None = None) -> Path:
    if path.suffix == ".json":
        write_json(path, VALUE)
    else:
        write_parquet(path, pa.table({"value": [1, 2, 3]}), metadata)
    return path


@pytest.fixture(params=["facts.json", "table.parquet"])
def sealed(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return write(tmp_path / str(request.param))


def test_what_was_written_is_whole_whatever_its_times(sealed: Path) -> None:
    assert is_whole(sealed)
    os.utime(sealed, (1, 1))
    assert is_whole(sealed)


def test_every_byte_counts_but_those_that_say_what_the_checksum_is(sealed: Path) -> None:
    data = sealed.read_bytes()
    mark = data.index(b"sha256:")
    for place in {*range(0, len(data), 7), len(data) - 1} - set(range(mark, mark + 7)):
        sealed.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        flipped_to_no_digit = mark < place < mark + 71 and chr(data[place] ^ 1) not in "0123456789abcdef"
        assert not is_whole(sealed) or flipped_to_no_digit, place
    sealed.write_bytes(data[:-1])
    assert not is_whole(sealed)
    sealed.write_bytes(data)
    assert is_whole(sealed)
    sealed.unlink()
    assert not is_whole(sealed)


def test_damage_that_keeps_size_and_time_is_seen_in_the_same_process(sealed: Path) -> None:
    assert is_whole(sealed)
    before, data = sealed.stat(), sealed.read_bytes()
    sealed.write_bytes(data.replace(b"e", b"f", 1))
    os.utime(sealed, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert not is_whole(sealed)


def test_a_file_of_an_earlier_version_is_taken_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "facts.json"
    path.write_text('{"name": "a"}')
    assert is_whole(path)
    assert read_json(path) == {"name": "a"}


def test_json_comes_back_without_its_seal_and_not_at_all_once_it_is_damaged(tmp_path: Path) -> None:
    path = write(tmp_path / "facts.json")
    assert read_json(path) == VALUE
    path.write_text(path.read_text().replace('"a"', '"b"'))
    assert read_json(path) is None
    path.write_text("{")
    assert read_json(path) is None
    assert read_json(tmp_path / "none.json") is None


def test_what_was_read_can_be_written_again(tmp_path: Path) -> None:
    path = write(tmp_path / "table.parquet", {"inputs": "abc"})
    table = pq.read_table(path)
    write_parquet(path, table, {key.decode(): value.decode() for key, value in table.schema.metadata.items()})
    assert is_whole(path)
    assert pq.read_schema(path).metadata[b"inputs"] == b"abc"
    facts = write(tmp_path / "facts.json")
    write_json(facts, {CHECKSUM: "of before", **VALUE})
    assert read_json(facts) == VALUE


def test_a_list_has_no_seal(tmp_path: Path) -> None:
    write_json(tmp_path / "list.json", [1])
    assert (tmp_path / "list.json").read_text() == "[\n  1\n]\n"


def test_nothing_is_sealed_that_has_no_place_for_it(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("<p>")
    with pytest.raises(ValueError, match="0 places for a checksum"):
        seal(tmp_path / "page.html")


def test_listed_files_are_as_they_were_or_not(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("one")
    listed = {"a": file_digest(tmp_path / "a")}
    assert all_as_listed(tmp_path, listed)
    (tmp_path / "a").write_text("two")
    assert not all_as_listed(tmp_path, listed)
    (tmp_path / "a").unlink()
    assert not all_as_listed(tmp_path, listed)
