"""What people write by hand: `dataset.yaml`, variants, options by op."""

from pathlib import Path
from typing import Any

import yaml
from hypothesis import strategies as st

from distracted_pipeline.assets.compute import read_op_config
from distracted_pipeline.images.source import find_source
from distracted_pipeline.settings import Settings, load_settings
from distracted_pipeline.variants.config import every_variant
from distracted_pipeline_tests.fuzz.mutations import as_json, deep, edited, mutated
from distracted_pipeline_tests.fuzz.reader import Reader, fresh

_WORDS = (
    b"&a ",
    b"*a",
    b"<<: *a",
    b"!!int ",
    b"!!float ",
    b"!!bool ",
    b"!!timestamp ",
    b"!!binary ",
    b"!!set ",
    b"!!omap ",
    b"!!python/name:os.system ",
    b"? ",
    b": ",
    b"- ",
    b"| ",
    b"> ",
    b"---\n",
    b"...\n",
    b"%YAML 9.9\n",
    b"2001-99-99",
    b"0x" + b"f" * 9_000,
    b"9" * 5_000,
    b"1:" * 3_000 + b"1",
    b"0b1",
    b"0o9",
    b"1_0",
    b".inf",
    b".nan",
    b"~",
    b"\t",
    b"{",
    b"[",
    b"}",
    b"]",
    b"'",
    b'"\\ud800"',
    b'"\\0"',
    b"\xc2\x85",
    b"# ",
)
DATASET = {
    "name": "kitchen",
    "classes": {"cut": "cutting", "stir": "stirring"},
    "mirrors": [["cut", "stir"]],
    "categories": {"knife": {"labels": ["knife", "blade"], "colour": "#0072b2", "expected": True}},
    "drivers": ["ann", "gus"],
    "splits": {"train": ["ann"], "dev": ["gus"], "test": []},
    "labels": {
        "reader": "list",
        "file": "frames.txt",
        "columns": {"path": 0, "label": 1},
        "separator": "\t",
        "header": False,
        "label_ids": {"3": "cut", "0": "stir"},
        "root": "frames",
        "pattern": "(?P<driver>[a-z]+)/",
    },
    "frames": 12,
}
_FOLDERS = {**DATASET, "labels": {"reader": "folders", "root": "frames", "pattern": "(?P<driver>[a-z]+)_"}}
VARIANTS: dict[str, Any] = {
    "mine": {
        "kind": "adapters",
        "adapters": [2, 4],
        "epochs": 8,
        "top_lr": 0.5,
        "label": "Mine",
        "control": "top_only",
    },
    "top_only": {"epochs": 2, "augment": True, "class_weights": "balanced", "replicates": 2},
    "masks_fused": None,
}
OPS = {
    "ops": {"trained_model": {"config": {"device": "cpu", "batch_size": 4}}, "masks": {"config": {"device": "auto"}}}
}


def bomb(levels: int) -> bytes:
    """Return a mapping that a few hundred bytes of aliases let grow tenfold a level."""
    rows = ["classes:", "  a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    rows += [f"  a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 10)}]" for k in range(1, levels)]
    return "\n".join(rows).encode()


def _dataset(folder: Path, case: bytes) -> None:
    (fresh(folder / "frames" / "cut") / "ann_1.jpg").touch()
    (folder / "frames.txt").write_text("ann/1.jpg\t3\n")
    (folder / "dataset.yaml").write_bytes(case)
    source = find_source(load_settings({}, data=folder))
    source.labels()
    source.close()


def _variants(folder: Path, case: bytes) -> None:
    (fresh(folder) / "variants.yaml").write_bytes(case)
    for one in every_variant(Settings(data=folder, variants_file=folder / "variants.yaml")).values():
        one.fingerprint()


def _ops(folder: Path, case: bytes) -> None:
    (fresh(folder) / "ops.yaml").write_bytes(case)
    read_op_config(folder / "ops.yaml")


def _cases(*documents: Any) -> st.SearchStrategy[bytes]:
    written = [yaml.safe_dump(one, sort_keys=False).encode() for one in documents]
    odd = [b"a: &a [*a]", b"a: &a {<<: *a}", bomb(6), b"- " * 50, b"[" * 50 + b"]" * 50]
    return st.one_of(mutated([*written, *odd], _WORDS), edited(documents).map(as_json))


def _made() -> dict[str, bytes]:
    values = (
        b"2001-99-99",
        b"9" * 5_000,
        b"0x" + b"f" * 9_000,
        b"!!int x",
        b"!!bool x",
        b"!!timestamp x",
        b"!!float ''",
        b'"\\ud800"',
    )
    odd = {value[:20].decode(): b"classes: {c0: a, c1: " + value + b"}" for value in values}
    patterns = (b"!!binary eA==", b"a{99999999999999999999}", b'"' + b"(" * 9_000 + b'"')
    head = b"classes: {c0: a, c1: b}\nlabels: {reader: list, file: a.txt, pattern: "
    odd |= {value[:20].decode(): head + value + b"}" for value in patterns}
    return odd | {
        "aliases of aliases": bomb(9),
        "aliases of aliases, 40 deep": bomb(40),
        "merges of merges": b"a0: &a0 {x: 1}\n"
        + b"".join(b"a%d: &a%d {<<: [*a%d, *a%d]}\n" % (k, k, k - 1, k - 1) for k in range(1, 40)),
        "an alias within itself": b"a: &a [*a]",
        "deep lists": deep(b"- "),
        "deep mappings": deep(b"{a: "),
        "another encoding": "classes: {c0: ä}".encode("latin-1"),
        "a folder with a NUL": b'classes: {c0: a, c1: b}\nlabels: {reader: folders, root: "a\\0b"}',
    }


def _many() -> dict[str, bytes]:
    drivers = b",".join(b"d%d" % k for k in range(60_000))
    return {"as many drivers as fit": b"classes: {c0: a, c1: b}\nsplits: {train: [" + drivers + b"]}"}


def _plain(*documents: Any) -> list[bytes]:
    return [yaml.safe_dump(one, sort_keys=False).encode() for one in documents]


READERS = [
    Reader(
        "dataset_yaml",
        _dataset,
        lambda: _cases(DATASET, _FOLDERS),
        lambda: _plain(DATASET, _FOLDERS),
        made=_made,
        largest=_many,
    ),
    Reader("variants_yaml", _variants, lambda: _cases(VARIANTS), lambda: _plain(VARIANTS), made=_made),
    Reader("ops_yaml", _ops, lambda: _cases(OPS), lambda: _plain(OPS), made=_made),
]
