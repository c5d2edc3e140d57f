"""The trained models that come with the package, checked before anyone loads them.

Belongs here: where they are and whether they are whole. How they came about is `demo.pretrain` and the
MODEL_CARD.md beside each; what loads them are `masks.loading` and `variants.backbones`, as any other folder.
"""

from pathlib import Path
from typing import Final, Literal

from distracted_pipeline.advice import typed
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.files import write_text
from distracted_pipeline.fingerprints import file_digest

WEIGHTS: Final = Path(__file__).parent / "weights"
FILES: Final = ("config.json", "model.safetensors", "preprocessor_config.json")
CARD: Final = "MODEL_CARD.md"
CHECKSUMS: Final = "SHA256SUMS"
"""As `sha256sum` writes and checks it; written last, so a folder without it is unfinished."""

Model = Literal["segmenter", "backbone"]


def shipped(model: Model, weights: Path = WEIGHTS) -> Path:
    """Return the Hugging Face folder of a shipped model after checking every file's SHA-256.

    Raises:
        DistractedError: A file is missing or is not the one that was shipped.
    """
    folder = weights / model
    listed = _listed(folder)
    for name in FILES:
        path = folder / name
        if not path.is_file():
            raise _spoilt(path, "is missing", model)
        if name not in listed:
            raise _spoilt(path, f"is not listed in {CHECKSUMS}", model)
        found = file_digest(path)
        if found != listed[name]:
            raise _spoilt(path, f"has SHA-256 {found[:12]}… instead of {listed[name][:12]}…", model)
    return folder


def write_checksums(folder: Path) -> None:
    """Write the checksums of a model's files: the folder is whole from here on."""
    write_text(folder / CHECKSUMS, "".join(f"{file_digest(folder / name)}  {name}\n" for name in FILES))


def _listed(folder: Path) -> dict[str, str]:
    path = folder / CHECKSUMS
    if not path.is_file():
        raise _spoilt(path, "is missing", folder.name)
    pairs = (line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    return {name: digest for digest, name in pairs}


def _spoilt(path: Path, what: str, model: str) -> DistractedError:
    return DistractedError(
        f"{path} {what}: the demo's {model} is not used. Install the package again (pip install --force-reinstall .), "
        f"or train the model anew: python -m distracted_pipeline.demo.pretrain {model} --out {typed(path.parent)}"
    )
