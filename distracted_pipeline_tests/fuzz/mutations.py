"""Valid files into damaged and odd ones, as hypothesis draws them: so that what fails shrinks to few changes."""

import copy
import json
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import strategies as st

Draw = Callable[[st.SearchStrategy[Any]], Any]

_NUMBERS = (
    0,
    1,
    2,
    3,
    7,
    8,
    0x7F,
    0x80,
    0xFF,
    0x100,
    0x7FFF,
    0xFFFF,
    2**24,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**63,
    2**64 - 1,
)
_BYTES = (
    b"\0",
    b"\xff",
    b"\xed\xa0\x80",
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"\r\n",
    b"\r",
    b"\x0c",
    b'"',
    b"\xc3",
    b"\x1b[2J",
)
_DEEP = 5_000

NASTY: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    2**31,
    2**63,
    2**64,
    10**30,
    10**5000,
    0.5,
    -0.0,
    1e308,
    float("inf"),
    float("nan"),
    "",
    " ",
    ".",
    "..",
    "/",
    "../x",
    "a/b",
    "a\0b",
    "\ud800",
    "\ufeff",
    "é",
    "e\u0301",
    "x" * 10_000,
    "null",
    "1e5",
    "nan",
    "[",
    "<<",
    "=",
    [],
    {},
    [[]],
    [None],
    {"": None},
    ["a", "a"],
    [1, 2],
    {"a": {"b": {}}},
)


def one_of(draw: Draw, things: Sequence[Any]) -> Any:
    """Return one of some things. Not `sampled_from`, which writes them out, however long, to tell strategies apart."""
    return things[draw(st.integers(0, len(things) - 1))]


def mutated(seeds: Sequence[bytes], words: Sequence[bytes] = ()) -> st.SearchStrategy[bytes]:
    """Return the strategy of one of `seeds`, changed in one to six places.

    Args:
        seeds: Valid files.
        words: What the format has for marks and names: numbers after one are changed, and words are put in anywhere.
    """

    @st.composite
    def case(draw: Draw) -> bytes:
        data = one_of(draw, seeds)
        for _ in range(draw(st.integers(1, 6))):
            data = one_of(draw, _CHANGES)(draw, data, words, seeds)
        return bytes(data)

    return case()


def _place(draw: Draw, data: bytes) -> int:
    place: int = draw(st.integers(0, len(data)))
    return place if draw(st.booleans()) else len(data) - place


def _cut(draw: Draw, data: bytes, *_: Any) -> bytes:
    return data[: _place(draw, data)]


def _drop(draw: Draw, data: bytes, *_: Any) -> bytes:
    first, last = sorted((_place(draw, data), _place(draw, data)))
    return data[:first] + data[last:]


def _flip(draw: Draw, data: bytes, *_: Any) -> bytes:
    place = _place(draw, data)
    return data[:place] + bytes(one ^ draw(st.integers(1, 255)) for one in data[place : place + 1]) + data[place + 1 :]


def _number(draw: Draw, data: bytes, *_: Any, place: int | None = None) -> bytes:
    at = _place(draw, data) if place is None else place
    size = one_of(draw, (1, 2, 4, 8))
    number = (one_of(draw, _NUMBERS) - draw(st.integers(0, 1))) % 2 ** (8 * size)
    return data[:at] + number.to_bytes(size, one_of(draw, ("little", "big"))) + data[at + size :]


def _field(draw: Draw, data: bytes, words: Sequence[bytes], *_: Any) -> bytes:
    """Change a number just behind a mark of the format."""
    there = [word for word in words if word in data]
    if not there:
        return _number(draw, data)
    word = one_of(draw, there)
    at = -1
    for _turn in range(draw(st.integers(1, min(4, data.count(word))))):
        at = data.index(word, at + 1)
    return _number(draw, data, place=min(len(data), at + draw(st.integers(0, 48))))


def _repeat(draw: Draw, data: bytes, *_: Any) -> bytes:
    first, last = sorted((_place(draw, data), _place(draw, data)))
    times = min(draw(st.integers(2, 300)), 2 + 200_000 // (last - first + 1))
    return data[:first] + data[first:last] * times + data[last:]


def _insert(draw: Draw, data: bytes, words: Sequence[bytes], *_: Any) -> bytes:
    place = _place(draw, data)
    word = one_of(draw, (*words, *_BYTES)) if draw(st.booleans()) else draw(st.binary(max_size=8))
    return data[:place] + word + data[place + draw(st.sampled_from((0, len(word)))) :]


def _splice(draw: Draw, data: bytes, _: Any, seeds: Sequence[bytes]) -> bytes:
    other = one_of(draw, seeds)
    return data[: _place(draw, data)] + other[_place(draw, other) :]


_CHANGES = (_cut, _drop, _flip, _number, _field, _field, _repeat, _insert, _insert, _splice)


def edited(documents: Sequence[Any], nasty: Sequence[Any] = NASTY) -> st.SearchStrategy[Any]:
    """Return the strategy of a document (mappings, lists, scalars) in which one to three values are others, or gone."""
    names = [one for one in nasty if isinstance(one, str)]

    @st.composite
    def case(draw: Draw) -> Any:
        document = json.loads(json.dumps(one_of(draw, documents)))
        for _ in range(draw(st.integers(1, 3))):
            places = list(_places(document))
            value = copy.deepcopy(one_of(draw, nasty))  # later changes would change it for every case
            if not places:
                return value
            parent, key = one_of(draw, places)
            how = one_of(draw, ("set", "set", "drop", "name", "move"))
            if how == "set":
                parent[key] = value
            elif how == "move":
                parent[key] = copy.deepcopy(one_of(draw, places)[0])
            else:
                old = parent.pop(key)
                if how == "name" and isinstance(parent, dict):
                    parent[one_of(draw, names)] = old
        return document

    return case()


def _places(node: Any) -> Any:
    pairs = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, below in list(pairs):
        yield node, key
        yield from _places(below)


def as_json(document: Any) -> bytes:
    """Return a document as JSON, which is YAML too; numbers of any length, lone surrogates as escapes."""
    import sys

    sys.set_int_max_str_digits(0)
    try:
        return json.dumps(document).encode()
    finally:
        sys.set_int_max_str_digits(4300)


def deep(opening: bytes, closing: bytes = b"") -> bytes:
    """Return what is nested deeper than Python's stack."""
    return opening * _DEEP + closing * _DEEP
