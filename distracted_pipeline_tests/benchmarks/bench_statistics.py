"""What the statistics cost at full cardinality, and how often they decide something where there is nothing.

19,999 swaps, 10 classes, 10 variants, 26 drivers; pairs of variants that differ by luck of drivers and of trainings,
and reports of eight variants that do nothing.

    python -m distracted_pipeline_tests.benchmarks.bench_statistics

One process, one thread, CPU time. Simulated counts of the size of State Farm; exits with 1 when the bar is missed.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import time
from collections.abc import Callable

import click
import numpy as np

from distracted_pipeline.evaluation import statistics as st
from distracted_pipeline.evaluation.comparison import difference
from distracted_pipeline_tests.evaluation.null_reports import decided, decided_again
from distracted_pipeline_tests.evaluation.two_noises import FOLD_OF, ROWS, Noise, error_rates

VARIANTS, DRIVERS, TRAININGS = 10, 26, 3
BAR_S = 10.0
BAR_SHARE = 0.06
BAND = 0.02, 0.07
BAR_COVERAGE = 0.92


def simulated(rng: np.random.Generator) -> np.ndarray:
    """Return counts [replicate, driver, true, predicted] of one variant, about 22,000 images."""
    n = np.random.default_rng(0).integers(50, 120, (DRIVERS, 10))
    chance = rng.dirichlet(np.ones(10), (TRAININGS, DRIVERS, 10)) * 0.3 + 0.7 * np.eye(10)
    return rng.multinomial(n, chance).astype(float)


def cpu_seconds(work: Callable[[], object]) -> float:
    """Return the CPU time of one call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def print_reports(reports: int, noise: Noise) -> float:
    """Print what reports decide where trainings have luck too, and return the share that decides something."""
    found = decided_again(reports, noise)
    click.echo(f"  with luck of trainings too (sd {noise.driver}, {noise.training}, {noise.residual}), 3 trainings:")
    click.echo(f"    Holm over all, drivers and trainings   {found.together:6.3f}   (bar: {BAR_SHARE:g})")
    click.echo(f"    one training, drivers alone            {found.drivers_alone:6.3f}   (the rule before)")
    click.echo(f"    of any mean, drivers and trainings     {found.means:6.3f}")
    click.echo(
        f"    5 in 100 reports have a p below        {found.best_level:8.5f} (Holm asks {0.05 / 80:.5f} of the first)"
    )
    return found.together


def print_pairs(pairs: int, noise: Noise) -> bool:
    """Print the error rates of one row, and return whether those of the test in use are within their bars."""
    one, two, three = (error_rates(noise, replicates, pairs) for replicates in (1, 2, 3))
    click.echo(
        f"  {noise.driver:10.2f}  {noise.training:14.2f}  {noise.residual:5.2f} | {one.swap:18.3f}  {three.swap:.3f}"
        f" | {two.both:10.3f}  {three.both:.3f} | {two.coverage:13.3f}  {three.coverage:.3f}"
    )
    rates, coverages = (two.both, three.both), (two.coverage, three.coverage)
    return BAND[0] <= min(rates) and max(rates) <= BAND[1] and min(coverages) >= BAR_COVERAGE


@click.command()
@click.option("--draws", default=st.DRAWS, show_default=True, help="Swaps per test.")
@click.option("--reports", default=500, show_default=True, help="Simulated reports; 0 for none.")
@click.option(
    "--pairs", default=20_000, show_default=True, help="Simulated pairs of variants for each row; 0 for none."
)
def main(draws: int, reports: int, pairs: int) -> None:
    """Print the CPU time of the swap test, of all that a pair of variants is compared by, and false decisions."""
    rng = np.random.default_rng(0)
    counts = [simulated(rng) for _ in range(VARIANTS + 1)]
    base, variants = counts[0], counts[1:]
    names = [f"p{d:03d}" for d in range(DRIVERS)]
    signs = st.swap_signs(names, draws)
    hits, n = (np.stack([f(c.mean(0)).T for c in variants]) for f in (st.hits, st.support))
    base_hits, base_n = (np.broadcast_to(f(base.mean(0)).T, hits.shape) for f in (st.hits, st.support))
    difference(base, base, FOLD_OF, signs[:9])  # scipy loads here
    swap = cpu_seconds(lambda: st.swap_test(hits, n, base_hits, base_n, signs))
    whole = cpu_seconds(lambda: [difference(v, base, FOLD_OF, signs) for v in variants])
    click.echo(f"{draws:,} swaps x 10 classes x {VARIANTS} variants x {DRIVERS} drivers, CPU seconds on one core:")
    click.echo(f"  swap test                                {swap:6.2f}   (bar: {BAR_S:g})")
    click.echo(f"  with intervals, jackknife and Holm       {whole:6.2f}")
    if reports:
        found = decided(reports)
        click.echo(f"{reports:,} reports of 8 variants that do nothing, share that decides something of any class:")
        click.echo(f"  Holm over all classes of all variants    {found.together:6.3f}   (bar: {BAR_SHARE:g})")
        click.echo(f"  Holm over each variant's own classes     {found.each_alone:6.3f}   (the rule before)")
        click.echo(f"  of any mean, Holm over the variants      {found.means:6.3f}")
        missed = [found.together] + [print_reports(reports, noise) for noise in ROWS]
        if max(missed) > BAR_SHARE:
            raise click.ClickException(f"{max(missed):.3f} of the reports decide something, the bar is {BAR_SHARE}")
    if pairs:
        click.echo(f"{pairs:,} pairs that do not differ, share with p <= .05, and coverage of the 95% interval")
        click.echo("(26 drivers, 5 folds, 86 images of the class each; R: trainings of each fold):")
        click.echo(
            "  sd: driver, fold's training, both | drivers alone, R=1  R=3 |  both, R=2    R=3 | coverage, R=2    R=3"
        )
        within = [print_pairs(pairs, noise) for noise in ROWS]
        if not all(within):
            raise click.ClickException(f"outside {BAND[0]} to {BAND[1]}, or coverage under {BAR_COVERAGE}")
    if swap > BAR_S:
        raise click.ClickException(f"the swap test took {swap:.1f} s, the bar is {BAR_S:g} s")


if __name__ == "__main__":
    main()
