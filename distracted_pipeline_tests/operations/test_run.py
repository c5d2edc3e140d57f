"""The run: when the report grows meanwhile, and how images are told to be read anew."""

import logging
import os
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import dagster as dg
import pytest

from distracted_pipeline.assets.step import Events, each_partition
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.operations import run as room
from distracted_pipeline.operations import step_runner
from distracted_pipeline.operations.missing import Item, Outcome, Step
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

    runner = room.Runner(crew, crew, 1, settings, room.RunSummary(), lambda line: None)
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


def test_steps_that_belong_together_are_shared_out_among_the_processes() -> None:
    steps = [Step(("features",), name, name, "features") for name in "abcde"]
    steps += [Step(("trained_model",), f"slow {fold}", fold) for fold in "01"]
    labels = [[step.label for step in item] for item in room.shared_out(steps, 2)]
    assert labels == [["a", "b", "c"], ["d", "e"], ["slow 0"], ["slow 1"]]


def test_what_comes_last_is_cut_into_parts_so_that_no_process_is_idle_for_long() -> None:
    steps = [Step(("trained_model",), f"{name}{fold}", None, name) for name in "abc" for fold in range(4)]
    assert [len(item) for item in room.shared_out(steps, 2)] == [4, 2, 2, 2, 2]
    assert [len(item) for item in room.shared_out(steps, 1)] == [4, 4, 4]
    assert [len(item) for item in room.shared_out(steps, 4)] == [1] * 12


def test_the_champion_waits_for_the_tables_alone_and_the_report_for_all() -> None:
    steps = [Step((name,), name) for name in ("class_accuracy", "gradcam", "gradcam", "report", "champion")]
    stages = [[step.label for step in stage] for stage in room._stages(steps)]
    assert stages == [["class_accuracy"], ["gradcam", "gradcam", "champion"], ["report"]]


@dg.asset(partitions_def=dg.StaticPartitionsDefinition(list("abcd")), output_required=False)
def taps(context: dg.AssetExecutionContext) -> Events:
    def one(settings: Settings, partition: str) -> dg.MaterializeResult:
        if partition == os.environ.get("BAD"):
            raise DistractedError(f"{partition} is bad")
        return dg.MaterializeResult()

    yield from each_partition(context, one)


@pytest.mark.parametrize(
    ("names", "bad", "reasons", "runs"),
    [
        ("abc", "", [None, None, None], 1),
        ("abc", "b", [None, "b is bad", None], 4),  # the one that failed, then one by one
        ("acd", "", [None, None, None], 3),  # no range
        ("d", "", [None], 1),
    ],
)
def test_steps_that_belong_together_are_one_dagster_run_and_a_bad_one_is_told_apart(
    names: str, bad: str, reasons: list[str | None], runs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BAD", bad)
    defs = dg.Definitions(assets=[taps], loggers={"console": step_runner.plain_console})
    with dg.DagsterInstance.ephemeral() as instance:
        runner = step_runner.StepRunner(instance, {}, defs)
        item = tuple(Step(("taps",), name, name, "taps") for name in names)
        assert list(runner.run_item(item)) == list(zip(item, reasons, strict=True))
        assert instance.get_runs_count() == runs
        assert instance.get_materialized_partitions(taps.key) == set(names) - {bad}


def test_a_steps_own_words_reach_the_terminal_and_dagsters_that_it_failed_do_not(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    @dg.asset
    def images(context: dg.AssetExecutionContext) -> None:
        context.log.info("reading frames")
        context.log.warning("one is grey")
        raise dg.Failure("there is no folder; make one", allow_retries=False)

    monkeypatch.setattr(logging.getLogger("distracted.console"), "handlers", [])
    defs = dg.Definitions(assets=[images], loggers={"console": step_runner.plain_console})
    with dg.DagsterInstance.ephemeral() as instance:
        job = defs.resolve_implicit_global_asset_job_def()
        reason = step_runner.execute(job, Step(("images",), "images"), instance, {})
    assert reason == "there is no folder; make one"
    assert capsys.readouterr().out == "    reading frames\n    warning: one is grey\n"


def test_an_error_that_was_tried_again_is_told_without_its_traceback() -> None:
    @dg.asset(retry_policy=dg.RetryPolicy(max_retries=1))
    def images() -> None:
        raise OSError("the disk hiccups")

    defs = dg.Definitions(assets=[images], loggers={"console": step_runner.plain_console})
    with dg.DagsterInstance.ephemeral() as instance:
        job = defs.resolve_implicit_global_asset_job_def()
        reason = step_runner.execute(job, Step(("images",), "images"), instance, {})
    assert reason is not None
    assert reason.startswith("OSError: the disk hiccups (")
    assert "\n" not in reason
