"""The one rule of staleness: made from these inputs, or to be made again."""

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from distracted_pipeline.files import write_json
from distracted_pipeline.fingerprints import INPUTS, file_digest, fingerprint, is_current, recorded_inputs


def write_output(path: Path, inputs: str | None) -> None:
    """Write an output that records its inputs, or one of an earlier version where they are None."""
    if path.suffix == ".json":
        write_json(path, {"value": 1} if inputs is None else {INPUTS: inputs, "value": 1})
        return
    metadata = None if inputs is None else {INPUTS: inputs}
    pq.write_table(pa.table({"value": [1]}).replace_schema_metadata(metadata), path)


@pytest.fixture(params=["table.parquet", "about.json"])
def output(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Where an output of either kind would lie."""
    return tmp_path / str(request.param)


def test_an_output_of_these_inputs_is_current_whatever_its_time(output: Path) -> None:
    write_output(output, "abc")
    os.utime(output, (1, 1))
    assert recorded_inputs(output) == "abc"
    assert is_current([output], "abc")


def test_a_missing_output_is_not_current(output: Path) -> None:
    assert recorded_inputs(output) == ""
    assert not is_current([output], "abc")


def test_an_output_of_other_inputs_is_not_current(output: Path) -> None:
    write_output(output, "abd")
    assert not is_current([output], "abc")


def test_an_output_of_an_earlier_version_is_not_current(output: Path) -> None:
    write_output(output, None)
    assert recorded_inputs(output) == ""
    assert not is_current([output], "abc")
    assert not is_current([output], ""), "unknown inputs are never current"


@pytest.mark.parametrize("content", [b"", b"PAR1 no more", b"{", b"\xff\xfe", b"[1, 2]"])
def test_a_damaged_output_is_not_current(output: Path, content: bytes) -> None:
    output.write_bytes(content)
    assert not is_current([output], "abc")


def test_every_file_of_an_asset_has_to_be_there(output: Path) -> None:
    write_output(output, "abc")
    other = output.with_name("picture.png")
    assert not is_current([output, other], "abc")
    other.touch()
    assert is_current([output, other], "abc")


def test_a_fingerprint_changes_with_the_facts_and_not_with_their_order() -> None:
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint("a", "b") != fingerprint("ab")
    assert fingerprint([1, 2]) != fingerprint([2, 1])
    assert len(fingerprint()) == 12


def test_a_digest_follows_the_content(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"one")
    first = file_digest(path)
    assert file_digest(path) == first
    path.write_bytes(b"three")
    assert file_digest(path) != first
