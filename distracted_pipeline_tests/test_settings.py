"""Where settings come from, and which source wins."""

import re
from pathlib import Path

import pytest

from distracted_pipeline.dataset import STATE_FARM
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.settings import DEFAULT_BACKBONE, DEFAULT_SEGMENTER, load_settings, variable


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_defaults_are_the_original_projects_models_in_data(tmp_path: Path) -> None:
    settings = load_settings({})
    assert settings.data == tmp_path / "data"
    assert (settings.backbone, settings.segmenter) == (DEFAULT_BACKBONE, DEFAULT_SEGMENTER)
    assert settings.notes == ()


def test_environment_beats_dotenv_beats_the_data_roots_own_file(tmp_path: Path) -> None:
    root = tmp_path / "elsewhere"
    root.mkdir()
    (root / "settings.env").write_text(
        "DISTRACTED_BACKBONE=of/data\nDISTRACTED_SEGMENTER=of/data\nDISTRACTED_BASELINE=of_data\n"
    )
    (tmp_path / ".env").write_text("DISTRACTED_BACKBONE=of/dotenv\nDISTRACTED_SEGMENTER=of/dotenv\n")
    settings = load_settings({"DISTRACTED_DATA": str(root), "DISTRACTED_BACKBONE": "of/environment"})
    assert (settings.backbone, settings.segmenter, settings.baseline) == ("of/environment", "of/dotenv", "of_data")


def test_the_data_argument_beats_the_environment(tmp_path: Path) -> None:
    assert load_settings({"DISTRACTED_DATA": "a"}, data="b").data == tmp_path / "b"


def test_a_demo_stands_in_for_an_empty_data_folder_and_says_so(tmp_path: Path) -> None:
    demo = tmp_path / "data" / "demo"
    demo.mkdir(parents=True)
    (demo / "driver_imgs_list.csv").write_text("subject,classname,img\n")
    settings = load_settings({})
    assert settings.data == demo
    assert "demo" in settings.notes[0]
    (tmp_path / "data" / "state-farm.zip").write_bytes(b"")
    assert load_settings({}).data == tmp_path / "data"


def test_a_description_alone_makes_a_data_root_and_names_its_drivers(tmp_path: Path) -> None:
    (tmp_path / "data" / "demo" / "imgs").mkdir(parents=True)
    (tmp_path / "data" / "dataset.yaml").write_text("classes: {a: one, b: two}\ndrivers: [x, y]\n")
    settings = load_settings({})
    assert settings.data == tmp_path / "data"
    assert (settings.dataset.class_ids, settings.subjects()) == (("a", "b"), ["x", "y"])


def test_a_wrong_description_stops_every_command_with_its_entry(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "dataset.yaml").write_text("classes: {a: one}\n")
    with pytest.raises(DistractedError, match=r"dataset\.yaml: classes has 1 entries"):
        load_settings({})


def test_a_model_folder_is_found_relative_to_the_data_root(tmp_path: Path) -> None:
    (tmp_path / "data" / "backbones" / "tiny").mkdir(parents=True)
    (tmp_path / "data" / "label_maps").mkdir()
    settings = load_settings({"DISTRACTED_BACKBONE": "backbones/tiny", "DISTRACTED_SEGMENTER": "folder:label_maps"})
    assert settings.backbone == str(tmp_path / "data" / "backbones" / "tiny")
    assert settings.segmenter == f"folder:{tmp_path / 'data' / 'label_maps'}"


def test_subjects_are_those_ingest_wrote_else_kaggles_26(tmp_path: Path) -> None:
    settings = load_settings({})
    assert settings.subjects() == list(STATE_FARM.drivers)
    settings.data.mkdir()
    settings.subjects_file.write_text("x1\nx2\n")
    assert settings.subjects() == ["x1", "x2"]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("SYNTHETIC", "true", "set it to 1 or 0"),
        ("REPLICATES", "101", "from 1 to 100"),
        ("REPLICATES", "9" * 5000, "from 1 to 100"),
        ("SEGMENTER_SIZE", "99999999", "from 1 to 8,192"),
        ("MLFLOW", "localhost:5000", "such as http://localhost:5000"),
        ("PER_GPU", "abc", "set it to a whole number above 0"),
        ("PER_GPU", "-1", "set it to a whole number above 0"),
        ("DATA", "~nobody_of_this_name/data", "write the whole path"),
        ("BACKBONE", "~nobody_of_this_name/b3", "write the whole path"),
    ],
)
def test_a_value_that_would_count_as_another_is_refused(name: str, value: str, said: str) -> None:
    with pytest.raises(DistractedError, match=said):
        load_settings({f"DISTRACTED_{name}": value})


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("DISTRACTED_REPLICATE", "Did you mean DISTRACTED_REPLICATES?"),
        ("DISTRACTED_DATA_ROOT", "Did you mean DISTRACTED_DATA?"),
        ("distracted_segmenter", "Did you mean DISTRACTED_SEGMENTER?"),
        ("DISTRACTED_SEED", "The settings are DISTRACTED_BACKBONE, "),
    ],
)
def test_a_misspelt_variable_is_refused_wherever_it_stands(name: str, meant: str, tmp_path: Path) -> None:
    with pytest.raises(DistractedError, match=rf"the environment sets {name}.*{re.escape(meant)}"):
        load_settings({name: "1"})
    for place in (tmp_path / ".env", tmp_path / "settings.env"):
        place.write_text(f"{name}=1\n")
        with pytest.raises(DistractedError, match=rf"{place.name} sets {name}"):
            load_settings({"DISTRACTED_DATA": str(tmp_path)})
        place.unlink()


def test_names_of_kubernetes_and_of_the_tests_are_none_of_ours() -> None:
    names = ("UI_SERVICE_HOST", "UI_SERVICE_PORT_HTTP", "UI_PORT", "UI_PORT_80_TCP_ADDR", "TEST_FRAMES")
    load_settings({f"DISTRACTED_{name}": "10.0.0.1" for name in names})


def test_a_data_roots_own_file_says_nothing_about_processes(tmp_path: Path) -> None:
    (tmp_path / "settings.env").write_text("DISTRACTED_STORE=s3://bucket\n")
    with pytest.raises(DistractedError, match=r"settings\.env sets DISTRACTED_STORE.*environment or .env only"):
        load_settings({"DISTRACTED_DATA": str(tmp_path)})


def test_what_a_process_reads_may_stand_in_dotenv_whoever_started_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DISTRACTED_STORE", raising=False)
    (tmp_path / ".env").write_text("DISTRACTED_STORE=file:///a\n")
    assert variable("DISTRACTED_STORE") == "file:///a"
    monkeypatch.setenv("DISTRACTED_STORE", "file:///b")
    assert variable("DISTRACTED_STORE") == "file:///b"


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("sqlite:///", "in memory"),
        ("sqlite://", "in memory"),
        ("sqlite:///:memory:", "in memory"),
        ("sqlite:///file:x?mode=memory&uri=true", "in memory"),
        ("file:///srv/mlruns", "names a folder"),
        ("http://", "names no server"),
    ],
)
def test_an_address_at_which_mlflow_would_keep_nothing_is_refused(address: str, said: str) -> None:
    with pytest.raises(DistractedError, match=rf"{said}.*unset it to keep the runs in the data root"):
        load_settings({"DISTRACTED_MLFLOW": address})


@pytest.mark.parametrize("address", ["sqlite:////srv/mlflow.db", "http://127.0.0.1:5000", "databricks"])
def test_other_addresses_of_mlflow_are_taken_as_they_are(address: str) -> None:
    assert load_settings({"DISTRACTED_MLFLOW": address}).mlflow_uri == address


def test_a_file_of_settings_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes("# été\n".encode("latin-1"))
    with pytest.raises(DistractedError, match=r"\.env cannot be read \(it is not UTF-8 text, byte 2"):
        load_settings({})
    (tmp_path / ".env").unlink()
    (tmp_path / ".env").mkdir()
    with pytest.raises(DistractedError, match=r"\.env cannot be read \(Is a directory\)"):
        load_settings({})


def test_a_damaged_list_of_subjects_counts_as_lost(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    settings = load_settings({})
    settings.subjects_file.write_bytes(b"p0\xff2\n")
    assert settings.subjects() == list(STATE_FARM.drivers)
