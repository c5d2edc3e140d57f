"""The run: when the report grows meanwhile, and how images are told to be read anew."""

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import dagster as dg
import pytest

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.operations import run as room
from distracted_pipeline.operations import step_runner
from distracted_pipeline.operations.missing import Step
from distracted_pipeline.operations.workers import Item, Outcome
from distracted_pipeline.settings import Settings


@pytest.mark.parametrize(("variants", "reports"), [(1, 0), (2, 3)])
def test_the_report_grows_while_variants_train_once_two_can_be_compared(
    variants: int, reports: int, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(variants):
        (settings.predictions / f"variant_{number}").mkdir(parents=True)
    clock = iter(range(0, 100_000, 700))
    monkeypatch.setattr(room.time, "monotonic", lambda: float(next(clock)))
    ran: list[str] = []

    def crew(items: Iterable[Item]) -> Iterator[Outcome]:
        for step in chain.from_iterable(items):
            ran.append(step.label)
            yield step, None

    runner = room._Runner(crew, crew, settings, room.RunSummary(), lambda line: None)
    trainings = [Step(("trained_model",), f"training {number}") for number in range(4)]
    runner.run(trainings, meanwhile=lambda: [Step(("report",), "report")])
    assert ran.count("report") == reports
    assert [label for label in ran if label != "report"] == [step.label for step in trainings]
    assert ran[-1] != "report"  # the last one comes with the rest of the stage


@pytest.mark.parametrize("verify", [False, True])
def test_images_are_told_whether_to_read_everything_anew(
    verify: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[object] = []

    def execute(job: object, step: Step, instance: object, config: dict[str, object]) -> str:
        told.append((step.label, config))
        return "the images cannot be read"

    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(step_runner, "execute", execute)
    monkeypatch.setattr(room, "require_models", lambda *_: None)
    monkeypatch.setattr(room, "open_instance", lambda log: dg.DagsterInstance.ephemeral())
    with pytest.raises(DistractedError, match="the images cannot be read"):
        room.run_missing(Settings(data=tmp_path), verify=verify, log=lambda line: None)
    assert told == [("images", {"images": {"config": {"verify": True}}} if verify else {})]


def test_what_failed_before_is_named_beside_what_ends_the_run() -> None:
    summary = room.RunSummary(failed={"masks": "no model"})
    with pytest.raises(DistractedError, match="masks: no model\nthe disk is full"), room._naming_failures(summary):
        raise DistractedError("the disk is full")


def test_a_blocking_check_that_fails_is_the_reason_in_its_own_words() -> None:
    @dg.asset(check_specs=[dg.AssetCheckSpec("bad_files", asset="images", blocking=True)])
    def images() -> dg.MaterializeResult:
        found = dg.AssetCheckResult(check_name="bad_files", passed=False, description="img_1.jpg is truncated; mend it")
        return dg.MaterializeResult(check_results=[found])

    defs = dg.Definitions(assets=[images], loggers={"console": step_runner.plain_console})
    with dg.DagsterInstance.ephemeral() as instance:
        job = defs.resolve_implicit_global_asset_job_def()
        reason = step_runner.execute(job, Step(("images",), "images"), instance, {})
        assert instance.get_runs()[0].status == dg.DagsterRunStatus.FAILURE
    assert reason == "check bad_files: img_1.jpg is truncated; mend it"
