"""YAML in which a name stands once: of two entries of one name PyYAML drops the first without a word."""

from collections.abc import Hashable
from typing import Any

import yaml


def load_yaml(text: str) -> Any:
    """Return what a YAML document holds, plain values only.

    Raises:
        yaml.YAMLError: It is no YAML, or a mapping has two entries of one name; says where.
    """
    return yaml.load(text, _Unique)


class _Unique(yaml.SafeLoader):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[object] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    problem = f"the name {key.value!r} stands here a second time"
                    raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)
