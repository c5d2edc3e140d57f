"""What taking masks out and in costs: time and peak memory of every way at State Farm's size, and at a tenth of it.

    python -m distracted_pipeline_tests.benchmarks.bench_exports

Masks are drawn (640x480) and frames one picture, as in `bench_mask_cache`. Each export is a process of its own; memory
that grows with the masks, and not only with the list of images, is a finding.
"""

import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from distracted_pipeline.dataset import STATE_FARM
from distracted_pipeline.settings import Settings
from distracted_pipeline_tests.benchmarks.bench_mask_cache import build

TARGETS = {"npz": "out", "png": "out", "panoptic": "out", "instances": "out/instances.json", "fiftyone": "out"}
IMPORTED = ("npz", "panoptic")
KINDS = (*TARGETS, *(f"import-{kind}" for kind in IMPORTED))
MOST_KIB = 8.0
"""Bar: by how much the peak may grow with each further image; a mask is 300 KiB (by 4: 19), encoded in memory 9."""

RUN = """
import re, sys
from pathlib import Path
from distracted_pipeline.cli import main
main(sys.argv[1:], standalone_mode=False)
print(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text()).group(1))
"""
"""An export that says its own peak: what the kernel tells a parent counts what the parent held when it forked."""


def measure(root: Path, verb: str, kind: str, target: Path) -> tuple[float, float, float]:
    """Return seconds, CPU seconds and peak memory in MiB of one export or import in a process of its own."""
    started, before = time.perf_counter(), os.times()
    words = ["masks", verb, f"--{kind}", str(target), "--data", str(root)]
    said = subprocess.run([sys.executable, "-c", RUN, *words], cwd=root, capture_output=True, text=True, check=True)
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - started, cpu, int(said.stdout.split()[-1]) / 1024


@click.command()
@click.option("--images", default=STATE_FARM.frames, show_default=True)
@click.option("--shrink", default=1, show_default=True, help="What the sides of masks, 640x480, are divided by.")
@click.option("--kind", "kinds", multiple=True, type=click.Choice(KINDS), help="Only these; imports export first.")
@click.option("--work", type=click.Path(path_type=Path), help="Folder for the data; default a temporary one.")
def main(images: int, shrink: int, kinds: tuple[str, ...], work: Path | None) -> None:
    """Export drawn masks at two sizes, take them in again, and print what it took."""
    grew = []
    with TemporaryDirectory(dir=work) as folder:
        roots = {count: Path(folder) / str(count) for count in (images // 10, images)}
        for count, root in roots.items():
            root.mkdir()
            build(Settings(data=root, segmenter=f"folder:{root / 'maps'}"), count, shrink)
            (root / "settings.env").write_text("DISTRACTED_SEGMENTER=folder:maps\n")
        click.echo(f"{'':15} {'masks':>7} {'seconds':>8} {'CPU s':>7} {'peak MiB':>9}")
        for kind in kinds or KINDS:
            peaks = []
            for count, root in roots.items():
                form = kind.removeprefix("import-")
                target = Path(folder) / f"{form}-{count}" / TARGETS[form]
                if form != kind and not target.exists():
                    measure(root, "export", form, target)
                seconds, cpu, peak = measure(root, "export" if form == kind else "import", form, target)
                peaks.append(peak)
                click.echo(f"{kind:15} {count:7,} {seconds:8.1f} {cpu:7.1f} {peak:9.0f}")
            if 1024 * (peaks[1] - peaks[0]) > MOST_KIB * (images - images // 10):
                grew.append(kind)
    if grew:
        raise click.ClickException(f"memory grows with the number of masks: {', '.join(grew)}")


if __name__ == "__main__":
    main()
