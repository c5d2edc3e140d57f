"""YAML as people mean it, where PyYAML drops or changes words without saying so.

Of two entries of one name it keeps the last; here that is an error. `no` and `012` are the boolean False and the number
10 to it; here a name is what is written, and a number too unless it is written as one counts.
"""

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any, Final

import yaml

_NUMBER: Final = re.compile(r"[-+]?(0|[1-9][0-9]{0,30})")


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
        yaml.YAMLError: It is no YAML, or a mapping has two entries of one name; says where.
    """
    try:
        return yaml.load(text, _AsWritten)
    except RecursionError as error:
        raise yaml.YAMLError("it is nested too deeply") from error


class _AsWritten(yaml.SafeLoader):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[object] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    problem = f"the name {key.value!r} stands here a second time"
                    raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
                seen.add(key.value)
                key.tag = "tag:yaml.org,2002:str"
        return super().construct_mapping(node, deep)

    def construct_number(self, node: yaml.ScalarNode) -> int | str:
        return int(node.value) if _NUMBER.fullmatch(node.value) else node.value


_AsWritten.add_constructor("tag:yaml.org,2002:int", _AsWritten.construct_number)
