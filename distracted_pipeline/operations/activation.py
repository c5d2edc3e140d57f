"""Writes the exports that bare Dagster commands need into what activates an environment: venv scripts, conda hooks.

`dagster asset materialize --select masks` reads neither pyproject.toml nor workspace.yaml, and looks for
its module before it reads `.env`; so the variable must be in the shell already.
"""

import sys
from pathlib import Path

MODULE_VARIABLES = ("DAGSTER_CLI_ASSET_MATERIALIZE_MODULE_NAME", "DAGSTER_CLI_ASSET_LIST_MODULE_NAME")
"""Each scopes the module to one command, `dagster asset …`; DAGSTER_MODULE_NAME would break `dagster dev`."""

MODULE = "distracted_pipeline.definitions"

CODE_LOCATION = "distracted_pipeline"
"""Name of the code location, as in workspace.yaml, pyproject.toml and what `distracted ui` starts."""

WARNINGS = "ignore:Function:FutureWarning:click.core"
"""Python's own filter against one line: Dagster calls `asset materialize` and `dev` superseded at every start."""

_BEGIN = "distracted_pipeline: begin"
_END = "distracted_pipeline: end"


def write_exports(home: Path, scripts: Path | None = None) -> list[Path]:
    """Add or refresh the exports in every activate script found; return the scripts that now carry them.

    Args:
        home: Dagster home that activation falls back to; one already in the shell's environment wins.
        scripts: Folder of the activate scripts; the running interpreter's own by default.
    """
    folder = scripts or Path(sys.prefix) / ("Scripts" if sys.platform == "win32" else "bin")
    written = []
    for name, lines in _exports(home).items():
        script = folder / name
        if script.is_file():
            comment = "::" if name.endswith(".bat") else "#"
            block = "\n".join([f"{comment} {_BEGIN}", *lines, f"{comment} {_END}"])
            script.write_text(
                f"{_without_block(script.read_text(encoding='utf-8'), comment).rstrip()}\n\n{block}\n", encoding="utf-8"
            )
            written.append(script)
    return written


def write_conda_hooks(home: Path, prefix: Path | None = None) -> list[Path]:
    """Write the exports where conda looks when it activates an environment; return the files, none elsewhere.

    Args:
        home: See `write_exports`.
        prefix: Folder of the environment; the running interpreter's own by default.
    """
    folder = prefix or Path(sys.prefix)
    if not (folder / "conda-meta").is_dir():
        return []
    hooks = folder / "etc" / "conda" / "activate.d"
    hooks.mkdir(parents=True, exist_ok=True)
    written = []
    for name, lines in _exports(home).items():
        hook = hooks / f"distracted_pipeline{Path(name).suffix or '.sh'}"
        hook.write_text("\n".join([*lines, ""]), encoding="utf-8")
        written.append(hook)
    return written


def _exports(home: Path) -> dict[str, list[str]]:
    return {
        "activate": [
            *(f'export {name}="{MODULE}"' for name in MODULE_VARIABLES),
            f'export DAGSTER_HOME="${{DAGSTER_HOME:-{home}}}"',
            f'export PYTHONWARNINGS="${{PYTHONWARNINGS:-{WARNINGS}}}"',
        ],
        "activate.fish": [
            *(f'set -gx {name} "{MODULE}"' for name in MODULE_VARIABLES),
            f'set -q DAGSTER_HOME; or set -gx DAGSTER_HOME "{home}"',
            f'set -q PYTHONWARNINGS; or set -gx PYTHONWARNINGS "{WARNINGS}"',
        ],
        "activate.csh": [
            *(f'setenv {name} "{MODULE}"' for name in MODULE_VARIABLES),
            f'if (! $?DAGSTER_HOME) setenv DAGSTER_HOME "{home}"',
            f'if (! $?PYTHONWARNINGS) setenv PYTHONWARNINGS "{WARNINGS}"',
        ],
        "Activate.ps1": [
            *(f'$env:{name} = "{MODULE}"' for name in MODULE_VARIABLES),
            f'if (-not $env:DAGSTER_HOME) {{ $env:DAGSTER_HOME = "{home}" }}',
            f'if (-not $env:PYTHONWARNINGS) {{ $env:PYTHONWARNINGS = "{WARNINGS}" }}',
        ],
        "activate.bat": [
            *(f'set "{name}={MODULE}"' for name in MODULE_VARIABLES),
            f'if not defined DAGSTER_HOME set "DAGSTER_HOME={home}"',
            f'if not defined PYTHONWARNINGS set "PYTHONWARNINGS={WARNINGS}"',
        ],
    }


def _without_block(text: str, comment: str) -> str:
    before, begin, rest = text.partition(f"{comment} {_BEGIN}")
    _, _, after = rest.partition(f"{comment} {_END}\n")
    return before + after if begin else text
