"""The original project's command line: its options, its dispatch, its `hyperparameters_*.json`.

Options become a `VariantConfig` and train as any variant does. The click command is `cli`'s.
"""

import ast
import json
from pathlib import Path
from typing import Any

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.options import RunOptions
from distracted_pipeline.progress import Log
from distracted_pipeline.scopes import ORIGINAL_FOLD
from distracted_pipeline.settings import Settings
from distracted_pipeline.training.train import TrainResult, train_config
from distracted_pipeline.variants.config import VariantConfig, load_catalogue, validated

OPTIONS: dict[str, type] = {
    "batch_size": int,
    "model_name": str,
    "adapters": str,
    "top_lr": float,
    "top_decay": float,
    "body_lr": float,
    "body_decay": float,
    "gamma": float,
    "epochs": int,
    "adapter_weight": float,
    "checkpoint": str,
}
"""The original project's eleven options, in snake case, and the types of their values."""

DEFAULT_ADAPTERS = "[3]"

DEFAULT_NAME = "custom"


def train_from_options(
    settings: Settings,
    *,
    name: str = DEFAULT_NAME,
    fold: str = ORIGINAL_FOLD,
    device: str = "auto",
    log: Log = print,
    **options: Any,
) -> TrainResult:
    """Train what the original project's options describe, as often as any variant of its kind.

    Args:
        settings: Where the data lies.
        name: Folder and run name of the result, `models/<name>/<fold>`.
        fold: One of `scopes.FOLDS`.
        device: `auto`, `cpu`, `cuda`, ...
        log: Receives progress lines.
        options: Any of `OPTIONS`; None means not given.

    Raises:
        DistractedError: An option is unknown or its value is not allowed; then as `train_variant`.
    """
    config = config_from_options(name, options)
    start = load_catalogue(settings).get(config.checkpoint or "")
    if start is not None:  # each training needs a start of its own
        config = config.model_copy(update={"replicates": min(config.replicates, start.replicates)})
    log(f"{name}: {config.kind}, {config.epochs} epoch{'s' * (config.epochs > 1)}, batches of {config.batch_size}")
    return train_config(settings, config, fold, RunOptions(device, log=log))


def config_from_options(name: str, options: dict[str, Any]) -> VariantConfig:
    """Return the variant that the original's options mean: adapters if any, else fine-tuning if body_lr, else masks.

    Defaults are the original's, so `adapters` is [3] unless given as `[]`.

    Raises:
        DistractedError: An option is unknown or its value is not allowed.
    """
    source = "the options of `distracted train`"
    unknown = sorted(set(options) - set(OPTIONS))
    if unknown:
        raise DistractedError(f"{source}: {_flag(unknown[0])} is unknown; options: {', '.join(map(_flag, OPTIONS))}.")
    given = {key: value for key, value in options.items() if value is not None}
    adapters = parse_adapters(given.pop("adapters", DEFAULT_ADAPTERS))
    body_lr = float(given.get("body_lr") or 0)
    if adapters:
        given = {key: value for key, value in given.items() if key not in ("body_lr", "body_decay")}
        kind = "adapters"
    else:
        kind = "fine_tune" if body_lr else "masks_fused"
        given.pop("adapter_weight", None)
    return validated(name, {"kind": kind, "adapters": adapters, "label": name, **given}, source)


def parse_adapters(text: Any) -> tuple[int, ...]:
    """Return base blocks from `[3]`, `[2, 4]`, `3` or `[]`; a literal, never evaluated.

    Raises:
        DistractedError: It is anything else.
    """
    try:
        value = ast.literal_eval(text) if isinstance(text, str) else text
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        value = text
    blocks = [value] if isinstance(value, int) and not isinstance(value, bool) else value
    valid = isinstance(blocks, list | tuple) and all(type(block) is int and block >= 0 for block in blocks)
    if not valid:
        raise DistractedError(
            f"--adapters is {text!r}: write the base blocks as a list, e.g. --adapters '[3]', or '[]' for none."
        )
    return tuple(sorted(set(blocks)))


def from_json(path: Path) -> dict[str, dict[str, Any]]:
    """Return options by run name from a file in the original project's format, `{"name": {"--body-lr": 0.01}}`.

    Raises:
        DistractedError: The file is unreadable, no such mapping, or holds an unknown option or wrong value.
    """
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DistractedError(f"{path} cannot be read ({error.strerror}). Give --from-json a JSON file.") from error
    except (ValueError, RecursionError) as error:
        raise DistractedError(f"{path} is not valid JSON ({error}). Correct it, then run the command again.") from error
    if not isinstance(loaded, dict) or not all(isinstance(options, dict) for options in loaded.values()):
        raise DistractedError(
            f'{path} must map run names to options: {{"name": {{"--adapters": "[3]", "--epochs": 30}}}}.'
        )
    runs: dict[str, dict[str, Any]] = {}
    for given_name, options in loaded.items():
        name = _run_name(given_name)
        if name in runs:
            raise DistractedError(f"{path}: two runs are called {name!r} (from {given_name!r}). Rename one of them.")
        runs[name] = {key.removeprefix("--").replace("-", "_"): value for key, value in options.items()}
        try:
            config_from_options(name, runs[name])
        except DistractedError as error:
            raise DistractedError(f"{path}, run {given_name!r}: {error}") from error
    return runs


def _run_name(name: str) -> str:
    """Make a run's name fit a folder: `adapter_b0_3_lr_0.5` becomes `adapter_b0_3_lr_0_5`."""
    plain = "".join(char if char.isascii() and char.isalnum() else "_" for char in name.lower())
    return plain if plain[:1].isalpha() else f"run_{plain}"


def _flag(option: str) -> str:
    return "--" + option.replace("_", "-")
