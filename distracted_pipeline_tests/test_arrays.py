"""NPZ: what is in it, or a sentence; never what a header only claims."""

import random
import zipfile
from pathlib import Path

import numpy as np
import pytest

from distracted_pipeline.arrays import read_arrays
from distracted_pipeline.files import read_others_json

SAVED = {
    "counts": np.arange(24).reshape(2, 3, 4),
    "by_columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "names": np.array(["p002", "p012"]),
    "none": np.zeros((0, 4), np.uint8),
    "one": np.array(7),
}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    np.savez_compressed(tmp_path / "saved.npz", **SAVED)
    return tmp_path / "saved.npz"


def test_what_was_saved_is_read_back(saved: Path) -> None:
    found = read_arrays(saved)
    assert found.keys() == SAVED.keys()
    for name, values in SAVED.items():
        np.testing.assert_array_equal(found[name], values)
        assert (found[name].dtype, found[name].shape) == (values.dtype, values.shape)


def test_flipped_bits_give_what_was_saved_or_one_kind_of_error(saved: Path) -> None:
    whole, rng, refused = saved.read_bytes(), random.Random(0), 0
    for _ in range(300):
        data = bytearray(whole)
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        saved.write_bytes(data)
        try:
            read_arrays(saved)
        except ValueError:
            refused += 1
    assert 150 < refused < 300  # names of members and times are covered by no sum


def header(kind: str, shape: str) -> bytes:
    text = f"{{'descr': {kind}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    return np.lib.format.magic(1, 0) + len(text).to_bytes(2, "little") + text


@pytest.mark.parametrize(
    ("member", "said"),
    [
        (b"", "is no array"),
        (b"\x93NUMPY\x01\x00\x10\x00{'descr': (((((((", "is no array"),
        (header("'|O'", "(1,)"), "neither numbers nor words"),
        (header("'|u1'", "(60000, 60000)"), "does not hold what its header says"),
    ],
)
def test_members_that_are_no_plain_arrays_are_refused(member: bytes, said: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", member)
    with pytest.raises(ValueError, match=said):
        read_arrays(tmp_path / "a.npz")


def test_a_missing_file_is_missing_and_no_zip_is_damaged(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_arrays(tmp_path / "gone.npz")
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04")
    with pytest.raises(ValueError, match="not a zip file"):
        read_arrays(tmp_path / "a.npz")


@pytest.mark.parametrize("text", ["", "[1]", "null", "[" * 100_000, '{"a": '])
def test_others_json_is_an_object_or_an_error_of_one_kind(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match="."):
        read_others_json(tmp_path / "config.json")
