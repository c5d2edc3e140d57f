"""What a person types, as far as no room answers it."""

import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import click
import pytest
from click.testing import CliRunner, Result

from distracted_pipeline.assets.partitions import variant_fold_partitions
from distracted_pipeline.cli import main
from distracted_pipeline.commands.common import Number, for_root, hanging, use_root
from distracted_pipeline.commands.report import _coloured
from distracted_pipeline.operations import doctor
from distracted_pipeline.settings import Settings


def typed(*words: str) -> Result:
    return CliRunner().invoke(main, list(words))


def test_the_former_name_of_the_original_fold_is_understood_with_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTRACTED_DATA", str(tmp_path / "data"))
    said = typed("run", "--fold", "seed", "--variant", "top_onyl")
    assert "note: fold seed is called original now" in said.stderr
    assert "no variant top_onyl" in said.stderr


def test_an_unknown_fold_is_refused_with_the_choices() -> None:
    said = typed("run", "--fold", "9")
    assert said.exit_code == 2
    assert "'original', '0', '1', '2', '3', '4'" in said.stderr


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (("run", "--variant", "masks_fussed"), "masks_fused"),
        (("run", "--fold", "orignal"), "original"),
        (("predict", ".", "--variant", "top_onyl"), "top_only"),
        (("variants", "show", "linear_prob"), "linear_probe"),
    ],
)
def test_a_name_that_is_nearly_right_is_asked_about(
    words: tuple[str, ...], meant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTRACTED_DATA", str(tmp_path))
    assert f"Did you mean {meant}?" in typed(*words).stderr


@pytest.mark.parametrize(
    ("variable", "root", "said"),
    [
        ("", "data", "distracted ui"),
        ("", "elsewhere", "distracted ui --data elsewhere"),
        ("", "two words", "distracted ui --data 'two words'"),
        ("elsewhere", "elsewhere", "distracted ui"),
        ("elsewhere", "data/demo", "distracted ui --data data/demo"),
    ],
)
@pytest.mark.skipif(os.name == "nt", reason="quotes another way")
def test_the_next_command_names_the_data_root_where_it_would_take_another_one(
    variable: str, root: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DISTRACTED_DATA", variable)
    with click.Context(main):
        use_root(Path(root).resolve())
        assert for_root("distracted ui", Path(root).resolve()) == said


@pytest.mark.parametrize("words", [("show", "img_1.jpg"), ("sheet",)])
def test_a_picture_that_no_ending_names_is_refused_before_any_work(words: tuple[str, ...], tmp_path: Path) -> None:
    said = typed("masks", *words, "--out", str(tmp_path / "overlay"))
    assert said.exit_code == 2
    assert "name it overlay.png" in " ".join(said.stderr.split())


def test_a_full_disk_is_one_sentence_in_every_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", str(tmp_path / "masks.png"))

    monkeypatch.setenv("DISTRACTED_DATA", str(tmp_path))
    monkeypatch.setattr("distracted_pipeline.masks.overlays.sheet", full)
    said = typed("masks", "sheet")
    assert said.exit_code == 1
    assert f"Error: cannot write {tmp_path / 'masks.png'}: No space left on device. Free some space" in said.stderr


def numbers() -> Iterator[tuple[str, str, click.ParamType]]:
    """Yield command, option and type of everything numeric that can be typed."""
    groups = [("", main)]
    while groups:
        path, group = groups.pop()
        for name, command in group.commands.items():
            if isinstance(command, click.Group):
                groups.append((f"{path} {name}", command))
            for option in command.params:
                if isinstance(option.type, click.types.IntParamType | click.types.FloatParamType):
                    yield f"{path} {name}".strip(), option.opts[0], option.type


def test_every_number_that_can_be_typed_has_limits() -> None:
    found = list(numbers())
    assert len(found) > 20
    for command, option, kind in found:
        assert isinstance(kind, click.IntRange | Number), f"{command} {option}"
        if option not in ("--adapter-weight",):  # a weight may be negative
            assert kind.min is not None, f"{command} {option}"


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("plan", "--power", "nan"), "nan is no finite number"),
        (("predict", "clip.mp4", "--fps", "inf"), "inf is no finite number"),
        (("train", "--body-lr", "-3"), "-3.0 is not in the range x>=0"),
        (("demo", "--seed", "-1"), "-1 is not in the range x>=0"),
        (("ui", "--port", "65535"), "65535 is not in the range 1<=x<=65533"),
    ],
)
def test_a_number_out_of_its_limits_is_named(words: tuple[str, ...], why: str) -> None:
    said = typed(*words)
    assert said.exit_code == 2
    assert f"Invalid value for '{words[-2]}': {why}" in said.stderr


def test_fetch_goes_where_env_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISTRACTED_DATA")
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("DISTRACTED_DATA=elsewhere\n")
    (tmp_path / "elsewhere" / "imgs").mkdir(parents=True)
    assert "elsewhere holds data already" in typed("fetch").stdout


@pytest.mark.parametrize(("failed", "summed_up"), [(1, False), (2, True)])
def test_one_file_that_cannot_be_predicted_is_told_by_its_reason_alone(
    failed: int, summed_up: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reasons = {f"{number}.jpg": "it is no JPEG" for number in range(failed)}
    found = SimpleNamespace(notes=[], failed=reasons, imgs=[], probabilities=[])
    monkeypatch.setenv("DISTRACTED_DATA", str(tmp_path))
    monkeypatch.setattr("distracted_pipeline.serving.predict_files.predict_files", lambda *_, **__: found)
    (tmp_path / "0.jpg").write_bytes(b"")
    said = typed("predict", str(tmp_path / "0.jpg"))
    assert said.exit_code == 1
    assert "not predicted: 0.jpg: it is no JPEG" in said.stderr
    assert (f"none of {failed} files" in said.stderr) == summed_up


def test_help_shows_every_command_once_in_the_order_of_the_work() -> None:
    names = [name for group in main.sections.values() for name in group]
    assert sorted(names) == sorted(main.commands)
    said = typed("--help").stdout
    places = [said.index(f"\n  {name} ") for name in names]
    assert places == sorted(places)


@pytest.mark.parametrize("group", ["masks", "report", "variants"])
def test_help_of_a_group_ends_no_sentence_in_dots(group: str) -> None:
    assert "..." not in typed(group, "--help").stdout.replace("[ARGS]...", "")


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_a_terminal_that_wants_no_colour_gets_none(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    def red() -> None:
        click.secho("red", fg="red")

    monkeypatch.setitem(main.commands, "red", red)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert CliRunner().invoke(main, ["red"], color=True).stdout == "\x1b[31mred\x1b[0m\n"
    monkeypatch.setenv(name, value)
    assert CliRunner().invoke(main, ["red"], color=True).stdout == "red\n"


def test_a_long_line_hangs_below_its_words_on_a_terminal_and_is_whole_in_a_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    line = f"{'[ok]':<25}{'word ' * 20}end"
    assert hanging(line, 25) == line
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    first, *others = hanging(line, 25).split("\n")
    assert len(first) <= 60
    assert all(other.startswith(" " * 25 + "word") for other in others)


def test_the_doctor_names_a_missing_data_folder_and_ends_with_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTRACTED_DATA", str(tmp_path / "none"))
    said = typed("doctor")
    assert said.exit_code == 1
    assert f"there is no folder {tmp_path / 'none'}" in said.stdout
    assert said.stdout.splitlines()[-1].startswith("next: put Kaggle's zip or its tree")


def test_the_doctor_says_what_is_known_at_once_before_torch_is_loaded(settings: Settings) -> None:
    for finding, topic in zip(doctor.examine(settings), ("tools", "disk", "images", "backbone"), strict=False):
        assert finding.topic == topic


def test_the_doctor_names_what_can_be_exported_and_the_extra_that_is_not_there(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "find_spec", lambda name: None if name == "onnxscript" else object())
    exports, extras, missing = doctor._extras(settings)
    assert "FiftyOne" in exports.words
    assert "ONNX" not in exports.words
    assert extras.words == "fetch, lora, video"
    assert missing.words == "onnx is not installed: distracted export wants it"
    assert missing.remedy == 'pip install -c constraints.txt -e ".[onnx]"'


def test_raw_data_that_is_not_read_in_yet_is_no_failure_but_the_next_step(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTRACTED_DATA", str(settings.data))
    said = typed("doctor")
    assert said.exit_code == 0
    assert said.stdout.splitlines()[-1] == "next: distracted run"


@pytest.mark.parametrize(("verdict", "code"), [("improved", "32"), ("worsened", "31"), ("undetermined", "2")])
def test_verdicts_are_coloured_at_the_end_of_their_row_only(verdict: str, code: str) -> None:
    assert _coloured(f"c0 improved posture  .57  {verdict}\nc1  -") == (
        f"c0 improved posture  .57  \x1b[{code}m{verdict}\x1b[0m\nc1  -"
    )


@pytest.mark.parametrize("display", ["", ":0"])
def test_without_a_display_the_report_s_address_is_said_and_no_browser_is_tried(
    display: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "reports" / "latest" / "index.html"
    page.parent.mkdir(parents=True)
    page.write_text("the report")
    opened: list[str] = []
    monkeypatch.setattr(click, "launch", opened.append)
    monkeypatch.setattr("sys.platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER", "WSL_DISTRO_NAME"):
        monkeypatch.setenv(name, display)
    result = typed("report", "open", "--data", str(tmp_path))
    assert result.exit_code == 0
    assert result.stdout == f"{page.as_uri()}\n"
    assert opened == ([page.as_uri()] if display else [])
    assert ("distracted report serve" in result.stderr) is not bool(display)


def test_the_former_partition_key_is_understood_with_a_note(capsys: pytest.CaptureFixture[str]) -> None:
    assert variant_fold_partitions.has_partition_key("seed|masks_only")
    tags = variant_fold_partitions.get_tags_for_partition_key("seed|masks_only")
    assert tags["dagster/partition"] == "original|masks_only"
    assert capsys.readouterr().err == "note: seed|masks_only is called original|masks_only now\n"
    assert not variant_fold_partitions.has_partition_key("seed|nobody")
    assert "seed|masks_only" not in variant_fold_partitions.get_partition_keys()
