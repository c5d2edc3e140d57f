"""A data root in an object store: what one machine wrote, another one reads, whole or not at all."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from distracted_pipeline.assets import store as room
from distracted_pipeline.assets.store import READS, WRITES, Store, mirrored, open_store
from distracted_pipeline.definitions import defs
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.settings import Settings
from distracted_pipeline_tests.toy import DATASET, write_toy_root

moto_server = pytest.importorskip("moto.server")

SHARD = "masks/abc/subject=p002/part-0.parquet"
INDEX = "masks/abc/subject=p002/index.json"


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The address of a local S3 server with one bucket."""
    import boto3

    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("ACCESS_KEY_ID", "a"), ("SECRET_ACCESS_KEY", "b"), ("REGION", "us-east-1")):
            patch.setenv(f"AWS_{name}", value)
        boto3.client("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1").create_bucket(Bucket="frames")
        yield f"s3://frames/{{}}?endpoint_override={host}:{port}&scheme=http&allow_bucket_creation=false"
    server.stop()


@pytest.fixture(params=["s3", "file"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A place of its own for each test, in S3 and in a folder."""
    if request.param == "file":
        (tmp_path / "store").mkdir()
        return (tmp_path / "store").as_uri()
    return request.getfixturevalue("s3").format(tmp_path.name)


def quiet(line: str) -> None:
    """Drop a log line."""


def write(root: Path, path: str, text: str) -> Path:
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)
    return target


def test_what_one_machine_pushes_another_pulls(uri: str, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    write(here, SHARD, "runs")
    write(here, INDEX, "{}")
    write(here, "models/top_only/original/config.json", "{}")
    assert Store(here, uri).push(["masks"]).files == 2
    there.mkdir()
    assert Store(there, uri).pull(["masks", "models"]).files == 2
    assert (there / SHARD).read_text() == "runs"
    assert not (there / "models").exists()


def test_only_what_changed_travels_again(uri: str, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    shard = write(here, SHARD, "runs")
    write(here, INDEX, "{}")
    there.mkdir()
    Store(here, uri).push(["masks"])
    Store(there, uri).pull(["masks"])
    assert (Store(here, uri).push(["masks"]).files, Store(there, uri).pull(["masks"]).files) == (0, 0)
    shard.write_text("other runs")
    assert Store(here, uri).push(["masks"]).files == 1
    assert Store(there, uri).pull(["masks"]).files == 1
    assert (there / SHARD).read_text() == "other runs"


def test_a_machine_does_not_pull_back_what_it_pushed(uri: str, tmp_path: Path) -> None:
    write(tmp_path / "here", SHARD, "runs")
    Store(tmp_path / "here", uri).push(["masks"])
    assert Store(tmp_path / "here", uri).pull(["masks"]).files == 0


def test_one_subject_can_be_pulled_alone(uri: str, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    write(here, SHARD, "runs")
    write(here, "masks/abc/subject=p012/part-0.parquet", "runs")
    Store(here, uri).push(["masks"])
    there.mkdir()
    Store(there, uri).pull(["masks/*/subject=p012"])
    assert [path.parent.name for path in there.rglob("*.parquet")] == ["subject=p012"]


def test_a_push_that_breaks_off_never_shows_an_index_without_its_shards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    (tmp_path / "store").mkdir()
    uri = (tmp_path / "store").as_uri()
    write(here, INDEX, "{}")  # first by name, last to travel
    for number in range(4):
        write(here, f"masks/abc/subject=p002/part-{number}.parquet", "runs")
    stamp, calls = room._remote_stamp, []

    def breaks(info: object) -> str:
        calls.append(info)
        if len(calls) == 3:
            raise OSError("the line is cut")
        return stamp(info)  # type: ignore[arg-type]

    monkeypatch.setattr(room, "_remote_stamp", breaks)
    with pytest.raises(DistractedError, match=r"cannot be written to: the line is cut.*what has travelled is kept"):
        Store(here, uri).push(["masks"])
    monkeypatch.setattr(room, "_remote_stamp", stamp)
    there.mkdir()
    Store(there, uri).pull(["masks"])
    assert not (there / INDEX).exists()
    assert Store(here, uri).push(["masks"]).files == 3  # the two that had travelled stay
    Store(there, uri).pull(["masks"])
    assert (there / INDEX).exists()
    assert len(list(there.rglob("part-*.parquet"))) == 4


def test_temporaries_and_locks_stay_at_home(uri: str, tmp_path: Path) -> None:
    write(tmp_path / "here", "masks/abc/subject=p002/.part-0.parquet.12.part", "half")
    assert Store(tmp_path / "here", uri).push(["masks"]).files == 0


def test_an_op_brings_its_inputs_and_takes_its_outputs_even_when_it_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "store").mkdir()
    monkeypatch.setenv(room.VARIABLE, (tmp_path / "store").as_uri())
    first, second = Settings(data=tmp_path / "first"), Settings(data=tmp_path / "second")
    second.data.mkdir()
    write(first.data, "images.parquet", "manifest")
    with mirrored(first, "images", log=print):
        pass
    lines: list[str] = []
    with pytest.raises(DistractedError, match="stop"), mirrored(second, "subject_masks", "p002", log=lines.append):
        assert second.manifest.read_text() == "manifest"
        write(second.data, SHARD, "runs")
        raise DistractedError("stop")
    assert (tmp_path / "store" / SHARD).read_text() == "runs"
    assert "1 files" in lines[0]
    assert "1 files" in lines[1]


def test_frames_of_another_data_set_travel_with_the_file_that_describes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "store").mkdir()
    monkeypatch.setenv(room.VARIABLE, (tmp_path / "store").as_uri())
    first, second = (
        Settings(data=write_toy_root(tmp_path / "first", backbone=False)),
        Settings(data=tmp_path / "second"),
    )
    with mirrored(first, "images", log=quiet):
        pass
    with mirrored(second, "subject_masks", "ann", log=quiet):
        pass
    for place in ("dataset.yaml", "frames.txt", "frames/front/ann/1.jpg"):
        assert (second.data / place).read_bytes() == (first.data / place).read_bytes()
    assert not (second.data / "label_maps").exists()


def test_a_data_set_whose_frames_cannot_be_told_from_other_files_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "store").mkdir()
    monkeypatch.setenv(room.VARIABLE, (tmp_path / "store").as_uri())
    write(tmp_path / "data", "dataset.yaml", DATASET.replace("  root: frames\n", ""))
    with (
        pytest.raises(DistractedError, match=r"dataset.yaml: labels: root is empty.*name it as root"),
        mirrored(Settings(data=tmp_path / "data"), "images", log=quiet),
    ):
        pass


def test_without_the_setting_nothing_travels(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(room.VARIABLE, raising=False)
    assert open_store(settings) is None


@pytest.mark.parametrize("uri", ["ftp://somewhere/else", "bucket/prefix"])
def test_a_place_that_cannot_be_opened_is_named_with_the_setting(uri: str, tmp_path: Path) -> None:
    with pytest.raises(DistractedError, match=rf"{room.VARIABLE}={uri}.*s3://bucket/prefix"):
        Store(tmp_path, uri)


def test_a_bucket_that_is_not_there_says_what_to_check(s3: str, tmp_path: Path) -> None:
    write(tmp_path, SHARD, "runs")
    with pytest.raises(DistractedError, match=r"s3://others.*cannot be written to.*AWS_ACCESS_KEY_ID"):
        Store(tmp_path, s3.format("x").replace("frames", "others")).push(["masks"])


def test_every_asset_says_what_it_reads_and_writes() -> None:
    names = {key.to_user_string() for key in defs.resolve_asset_graph().materializable_asset_keys}
    assert names <= set(READS)
    assert names <= set(WRITES)
