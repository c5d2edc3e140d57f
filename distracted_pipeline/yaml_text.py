"""YAML as people mean it, and a few bytes never become much.

Of two entries of one name PyYAML keeps the last; here that is an error. `no` and `012` are the boolean False and the
number 10 to it; here a name is what is written, and a number too unless it is written as one counts. Aliases within
aliases it lets grow beyond any memory, and for values that are not what their form promises (the 99th of a month, a
number of 5,000 digits) it raises whatever Python does; here either is an error that says where.
"""

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any, Final

import yaml

from distracted_pipeline.errors import shown

_NUMBER: Final = re.compile(r"[-+]?(0|[1-9][0-9]{0,30})")

MOST_CHARACTERS: Final = 2**19
"""Longer texts are refused: PyYAML takes up to seven seconds for as many."""

_MOST_NODES: Final = 200_000
"""Entries of a document with its aliases written out."""

_FORM_FAULTS: Final = (ValueError, LookupError, TypeError, AttributeError, OverflowError)
"""What PyYAML's constructors raise for text that is not of the form that its tag, or its looks, promise."""


def read_text(path: Path) -> str:
    """Return a text file that a person wrote, UTF-8.

    Raises:
        OSError: It cannot be read, or is in another encoding; says which.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise OSError(None, f"it is not UTF-8 text, byte {error.start}; save it as UTF-8") from error


def load_yaml(text: str) -> Any:
    """Return what a YAML document holds, plain values only.

    Raises:
        yaml.YAMLError: It is no YAML, a mapping has two entries of one name, or it is too long, too deep or too large a
            number; says where.
    """
    if len(text) > MOST_CHARACTERS:
        raise yaml.YAMLError(f"it has {len(text):,} characters; {MOST_CHARACTERS:,} are the most")
    try:
        return yaml.load(text, _AsWritten)
    except RecursionError as error:
        raise yaml.YAMLError("it is nested too deeply") from error


class _AsWritten(yaml.SafeLoader):
    def get_single_node(self) -> yaml.Node | None:
        node: yaml.Node | None = super().get_single_node()
        if node is not None:
            _check_size(node, {})
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[object] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    raise _fault(f"the name {shown(key.value)} stands here a second time", key)
                seen.add(key.value)
                key.tag = "tag:yaml.org,2002:str"
        return super().construct_mapping(node, deep)

    def construct_number(self, node: yaml.ScalarNode) -> int | str:
        return int(node.value) if _NUMBER.fullmatch(node.value) else node.value

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            value = super().construct_object(node, deep)
        except _FORM_FAULTS as error:
            raise _fault(f"this is no {node.tag.rpartition(':')[2]} ({error})", node) from error
        if isinstance(value, int) and abs(value) >= 2**63:
            raise _fault("this number has more than 63 bits", node)
        if isinstance(value, str) and any("\ud800" <= char <= "\udfff" or char == "\0" for char in value):
            raise _fault("this text holds a character that no file can hold", node)
        return value


_AsWritten.add_constructor("tag:yaml.org,2002:int", _AsWritten.construct_number)


def _check_size(node: yaml.Node, sizes: dict[int, int]) -> int:
    """Return how many nodes a node is, aliases written out.

    Args:
        node: What is counted.
        sizes: Of nodes that have been counted, by their `id`; 0 while one is being counted.
    """
    if id(node) in sizes:
        if not sizes[id(node)]:
            raise _fault("an alias within what it stands for", node)
        return sizes[id(node)]
    sizes[id(node)] = 0
    below = [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else node.value
    size = 1 + (0 if isinstance(node, yaml.ScalarNode) else sum(_check_size(part, sizes) for part in below))
    if size > _MOST_NODES:
        raise _fault(f"this has more than {_MOST_NODES:,} entries, its aliases written out", node)
    sizes[id(node)] = size
    return size


def _fault(problem: str, node: yaml.Node) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
