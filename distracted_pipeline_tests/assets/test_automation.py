"""The nightly fill asks for what is missing or failed, once per tick; the raw-data sensor for what changed."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG

from distracted_pipeline.assets import automation
from distracted_pipeline.assets.automation import next_command, nightly_fill, raw_data_fingerprint
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.settings import Settings, load_settings
from distracted_pipeline_tests.toy import write_toy_root

SUBJECTS = ["p002", "p012", "p014", "p015"]
EVENING = datetime(2030, 1, 1, 22, tzinfo=UTC)
NIGHT = timedelta(days=1)


class Nights:
    """Drives the daemon's evaluation by hand, from an evening on, over assets of the pipeline's shape."""

    def __init__(self, broken: tuple[str, ...] = ()) -> None:
        @dg.asset
        def images() -> None: ...

        @dg.asset(
            deps=[images],
            partitions_def=dg.StaticPartitionsDefinition(SUBJECTS),
            automation_condition=nightly_fill("0 2 * * *"),
        )
        def subject_masks(context: dg.AssetExecutionContext) -> None:
            if context.partition_key in broken:
                raise dg.Failure("cannot be segmented")

        self.images, self.masks = images, subject_masks
        self.defs = dg.Definitions(assets=[images, subject_masks])
        self.instance = dg.DagsterInstance.ephemeral()
        self.cursor = None
        self.now = EVENING
        self.asked()  # the daemon's first look, at deployment

    def asked(self, later: timedelta = timedelta(0)) -> set[str]:
        """Move the clock on, evaluate once, and return the partitions that are requested."""
        self.now += later
        result = dg.evaluate_automation_conditions(
            self.defs, self.instance, cursor=self.cursor, evaluation_time=self.now
        )
        self.cursor = result.cursor
        return set(result.get_requested_partitions(self.masks.key))

    def make(self, *subjects: str) -> None:
        job = self.defs.resolve_implicit_global_asset_job_def()
        for subject in subjects:
            job.execute_in_process(
                instance=self.instance, asset_selection=[self.masks.key], partition_key=subject, raise_on_error=False
            )

    def ingest(self) -> None:
        assert dg.materialize([self.images], instance=self.instance).success


def test_nothing_is_asked_for_at_deployment() -> None:
    nights = Nights()
    nights.ingest()
    assert nights.asked(timedelta(minutes=1)) == set()


def test_nothing_is_asked_for_before_there_are_images() -> None:
    assert Nights().asked(NIGHT) == set()


def test_a_night_asks_for_exactly_the_missing_ones_and_once() -> None:
    nights = Nights()
    nights.ingest()
    nights.make("p002", "p014")
    assert nights.asked(NIGHT) == {"p012", "p015"}
    assert nights.asked(timedelta(minutes=1)) == set()
    assert nights.asked(timedelta(hours=3)) == set()


def test_what_is_complete_is_left_alone() -> None:
    nights = Nights()
    nights.ingest()
    nights.make(*SUBJECTS)
    assert nights.asked(NIGHT) == set()


def test_a_subject_that_always_fails_is_asked_for_once_a_night_and_no_more() -> None:
    nights = Nights(broken=("p012",))
    nights.ingest()
    assert nights.asked(NIGHT) == set(SUBJECTS)
    nights.make(*SUBJECTS)
    assert [nights.asked(timedelta(minutes=1)) for _ in range(3)] == [set(), set(), set()]
    assert nights.asked(NIGHT) == {"p012"}


def test_a_line_that_is_no_cron_schedule_is_refused_with_an_example() -> None:
    with pytest.raises(DistractedError, match=r"DISTRACTED_NIGHTLY='at two'.*0 2 \* \* \*"):
        nightly_fill("at two")


@pytest.fixture
def sensed(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr(automation, "load_settings", lambda: settings)
    return settings


def look(cursor: str | None) -> dg.SensorResult | dg.SkipReason:
    result = automation.raw_data_changed(dg.build_sensor_context(cursor=cursor))
    assert isinstance(result, dg.SensorResult | dg.SkipReason)
    return result


def test_the_first_look_reads_images_in_only_where_there_is_no_manifest(sensed: Settings) -> None:
    first = look(None)
    assert isinstance(first, dg.SensorResult)
    assert len(first.run_requests or ()) == 1
    sensed.manifest.touch()
    deployed = look(None)
    assert isinstance(deployed, dg.SensorResult)
    assert not deployed.run_requests
    assert deployed.cursor == raw_data_fingerprint(sensed)


def test_unchanged_raw_data_asks_for_nothing(sensed: Settings) -> None:
    assert isinstance(look(raw_data_fingerprint(sensed)), dg.SkipReason)


@pytest.mark.parametrize("change", ["a photo more", "a photo less", "a renamed photo", "another csv", "a zip"])
def test_changed_raw_data_asks_for_images(sensed: Settings, change: str) -> None:
    before = raw_data_fingerprint(sensed)
    folder = sensed.data / "imgs" / "train" / "c0"
    photo = min(folder.iterdir())
    if change == "a photo more":
        (folder / "img_777.jpg").write_bytes(photo.read_bytes())
    elif change == "a photo less":
        photo.unlink()
    elif change == "a renamed photo":
        photo.rename(folder / "img_777.jpg")
    elif change == "another csv":
        sensed.csv.write_text(sensed.csv.read_text() + "p002,c0,img_777.jpg\n")
    else:
        (sensed.data / "more.zip").write_bytes(b"PK")
    result = look(before)
    assert isinstance(result, dg.SensorResult)
    (request,) = result.run_requests or ()
    assert request.run_key is not None
    assert result.cursor != before


@pytest.mark.parametrize("change", ["a photo more", "another list", "another description"])
def test_changed_raw_data_of_another_data_set_is_seen_too(tmp_path: Path, change: str) -> None:
    root = write_toy_root(tmp_path / "data", backbone=False)
    before = raw_data_fingerprint(load_settings(data=root))
    assert before
    assert raw_data_fingerprint(load_settings(data=root)) == before
    if change == "a photo more":
        (root / "frames" / "front" / "ann" / "99.jpg").write_bytes(b"photo")
    else:
        path = root / {"another list": "frames.txt", "another description": "dataset.yaml"}[change]
        path.write_text(path.read_text() + "\n")
        os.utime(path, (1, 1))
    assert raw_data_fingerprint(load_settings(data=root)) != before


def test_an_empty_data_root_says_what_to_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(automation, "load_settings", lambda: Settings(data=tmp_path))
    skipped = look(None)
    assert isinstance(skipped, dg.SkipReason)
    assert "put Kaggle's zip" in str(skipped.skip_message)


def test_after_a_run_of_several_partitions_whatever_is_missing_is_what_to_type() -> None:
    several = {ASSET_PARTITION_RANGE_START_TAG: "p002", ASSET_PARTITION_RANGE_END_TAG: "p012"}
    run = dg.DagsterRun(job_name="run", asset_selection={dg.AssetKey("subject_masks")}, tags=several)
    assert next_command(run) == "distracted run"


def test_a_failed_run_is_followed_by_its_reason_and_the_command_that_tries_again(
    capfd: pytest.CaptureFixture[str],
) -> None:
    nights = Nights(broken=("p012",))
    job = nights.defs.resolve_implicit_global_asset_job_def()
    failed = job.execute_in_process(
        instance=nights.instance, asset_selection=[nights.masks.key], partition_key="p012", raise_on_error=False
    )
    run = nights.instance.get_run_by_id(failed.run_id)
    assert run is not None
    assert next_command(run) == 'dagster asset materialize --select subject_masks --partition "p012"'
    context = dg.build_run_status_sensor_context(
        sensor_name="failed_run_says_what_to_type",
        dagster_event=failed.get_run_failure_event(),
        dagster_instance=nights.instance,
        dagster_run=run,
    ).for_run_failure()
    capfd.readouterr()
    automation.failed_run_says_what_to_type(context)
    said = capfd.readouterr().err
    assert "subject_masks failed: cannot be segmented" in said
    assert 'dagster asset materialize --select subject_masks --partition "p012"' in said
    last = nights.instance.all_logs(run.run_id)[-1]
    assert last.message.startswith("subject_masks failed: cannot be segmented")
    assert last.message.endswith('Next: dagster asset materialize --select subject_masks --partition "p012"')


def test_a_run_that_a_check_stopped_is_followed_by_the_file_and_what_to_do_about_it(settings: Settings) -> None:
    @dg.asset(check_specs=[dg.AssetCheckSpec("bad_files", asset="photos", blocking=True)])
    def photos() -> dg.MaterializeResult:
        words = "2 bad images. Such as c0/img_1.jpg: empty. Copy the image there again."
        return dg.MaterializeResult(check_results=[dg.AssetCheckResult(passed=False, description=words)])

    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([photos], instance=instance, raise_on_error=False)
        assert not result.success
        failure = result.all_events[-1]
        context = dg.build_run_status_sensor_context("any", failure, instance, result.dagster_run).for_run_failure()
        said = automation._reason(context)
    assert said == "photos, check bad_files: 2 bad images. Such as c0/img_1.jpg: empty. Copy the image there again."
