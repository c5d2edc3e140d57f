"""What every page is made with, in a report or alone: templates, scripts, styles, and the policy of what may load.

Does not belong here: what a page says, and which pages there are.
"""

import base64
import hashlib
from pathlib import Path
from types import CodeType

import jinja2
from jinja2 import nodes
from jinja2.bccache import Bucket
from jinja2.compiler import CodeGenerator, Frame

TEMPLATES = Path(__file__).parent / "templates"

ALONE = "data:"
"""Where the pictures of a page of one file come from."""


class _Code(jinja2.BytecodeCache):
    """Compiled templates, kept as long as the process: compiling them is a third of a small report."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], CodeType] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        bucket.code = self._kept.get((bucket.key, bucket.checksum))

    def dump_bytecode(self, bucket: Bucket) -> None:
        if bucket.code is not None:
            self._kept[bucket.key, bucket.checksum] = bucket.code


_CODE = _Code()


class _NothingFolded(CodeGenerator):
    """Leaves what filters make of constants to each page: the code is kept, and filters are a site's own."""

    def _output_child_to_const(self, node: nodes.Expr, frame: Frame, finalize: CodeGenerator._FinalizeInfo) -> str:
        if not isinstance(node, nodes.TemplateData):
            raise nodes.Impossible
        return super()._output_child_to_const(node, frame, finalize)


class _Environment(jinja2.Environment):
    code_generator_class = _NothingFolded


def bare_environment() -> jinja2.Environment:
    """Return an environment over the templates that knows no filters of ours: names are escaped, none is made up."""
    return _Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        optimized=False,  # it would fold, too
        bytecode_cache=_CODE,
    )


def source(name: str) -> str:
    """Return a script or a style sheet that goes into pages."""
    return (TEMPLATES / name).read_text(encoding="utf-8")


def policy(style: str, script: str | None, pictures: str) -> str:
    """Return a policy under which a page can load its pictures and nothing else from anywhere.

    Args:
        style: The page's style sheet.
        script: What runs on it; None for nothing.
        pictures: Where they may come from.
    """
    scripts = f"'{_digest(script)}'" if script is not None else "'none'"
    return (
        f"default-src 'none'; img-src {pictures}; style-src '{_digest(style)}'; script-src {scripts}; "
        "base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
