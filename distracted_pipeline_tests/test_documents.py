"""What the documents show is true: the graph, the links, the recipes for those who carry on."""

import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from safetensors.torch import load_file

from distracted_pipeline.definitions import defs
from distracted_pipeline.images.ingest import ingest
from distracted_pipeline.masks.cache import cache_of
from distracted_pipeline.options import RunOptions
from distracted_pipeline.reports import page_parts
from distracted_pipeline.reports.build import write_site
from distracted_pipeline.reports.pages import write
from distracted_pipeline.reports.read_report_data import read_report_data
from distracted_pipeline.settings import Settings
from distracted_pipeline.training.checkpoint import WEIGHTS
from distracted_pipeline.training.train import train_variant
from distracted_pipeline.variants.backbones import load_backbone
from distracted_pipeline.variants.kinds import KINDS, Kind, register
from distracted_pipeline.variants.layout import describe
from distracted_pipeline_tests.chain import write_chain_root
from distracted_pipeline_tests.reports.conftest import evaluate

REPOSITORY = Path(__file__).parents[1]
README, CONTRIBUTING = ((REPOSITORY / name).read_text(encoding="utf-8") for name in ("README.md", "CONTRIBUTING.md"))


def quiet(line: str) -> None:
    """Log nothing."""


def recipe(title: str) -> dict[str, str]:
    """Return the code blocks of one recipe of CONTRIBUTING by language."""
    (section,) = re.findall(rf"^### {title}\n(.*?)(?=^##|\Z)", CONTRIBUTING, re.MULTILINE | re.DOTALL)
    blocks = dict(re.findall(r"^```(\w+)\n(.*?)^```", section, re.MULTILINE | re.DOTALL))
    assert blocks
    assert all(block.count("\n") < 20 for block in blocks.values())
    return blocks


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Frames read in, label maps, a tiny backbone."""
    root = write_chain_root(tmp_path_factory.mktemp("documents") / "data")
    settings = Settings(
        data=root,
        segmenter=f"folder:{root / 'label_maps'}",
        backbone=str(root / "backbones" / "tiny"),
        synthetic=True,
        variants_file=root / "variants.yaml",
    )
    ingest(settings, log=quiet)
    return settings


def edges() -> Iterator[tuple[str, str]]:
    graph = defs.resolve_asset_graph()
    for key in graph.materializable_asset_keys:
        for parent in graph.get(key).parent_keys:
            yield parent.to_user_string(), key.to_user_string()


def test_the_readmes_graph_is_the_graph_of_the_assets() -> None:
    (drawing,) = re.findall(r"^```mermaid\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    shown = set(re.findall(r"^ +(\w+) --> (\w+)$", drawing, re.MULTILINE))
    assert shown == set(edges())


def test_every_asset_has_its_line_in_the_readme() -> None:
    listed = set(re.findall(r"^\| `(\w+)` \|", README, re.MULTILINE))
    assert {key.to_user_string() for key in defs.resolve_asset_graph().materializable_asset_keys} <= listed


def test_every_file_that_the_documents_lead_to_is_there() -> None:
    places = [REPOSITORY, REPOSITORY / "docs"]
    others = [path.read_text(encoding="utf-8") for path in (REPOSITORY / "docs").glob("*.md")]
    led_to = {place for text in (README, CONTRIBUTING, *others) for place in re.findall(r"\]\(([\w./-]+)\)", text)}
    assert "docs/sample-report/index.html" in led_to
    assert [place for place in led_to if not any((folder / place).exists() for folder in places)] == []


def test_the_recipe_for_a_variant_makes_one(drawn: Settings, tmp_path: Path) -> None:
    entry = recipe("A variant")["yaml"]
    (name,) = yaml.safe_load(entry)
    (tmp_path / "mine.yaml").write_text(entry)
    described = "\n".join(describe(replace(drawn, variants_file=tmp_path / "mine.yaml"), name))
    assert len(re.findall("adapter in base block [24]", described)) == 2


def test_the_recipe_for_a_kind_trains_what_it_says(drawn: Settings, tmp_path: Path) -> None:
    blocks = recipe("A kind")
    assert sum(block.count("\n") for block in blocks.values()) < 30
    names: dict[str, object] = {}
    exec(blocks["python"], names)
    kind: Kind = names["KIND"]  # type: ignore[assignment]
    (tmp_path / "mine.yaml").write_text(blocks["yaml"])
    register(kind)
    try:
        settings = replace(drawn, variants_file=tmp_path / "mine.yaml")
        (name,) = yaml.safe_load(blocks["yaml"])
        result = train_variant(settings, name, "0", RunOptions(log=quiet))
        learned = load_file(result.folder / "0" / WEIGHTS)
    finally:
        del KINDS[kind.name]
    head = ("classifier.weight", "classifier.bias")
    top_bn = "trunk.model.efficientnet.encoder.top_bn"
    assert set(learned) == {*head, f"{top_bn}.weight", f"{top_bn}.bias"}
    assert not bool((learned[f"{top_bn}.bias"] == load_backbone(drawn).trunk.encoder.top_bn.bias).any())


def test_the_recipe_for_a_segmenter_fills_a_cache_of_its_own(drawn: Settings) -> None:
    names: dict[str, object] = {"settings": drawn}
    exec(recipe("A segmenter")["python"], names)
    cache = cache_of(drawn, names["Bright"].fingerprint)  # type: ignore[attr-defined]
    subject = drawn.subjects()[0]
    masks = dict(cache.masks(subject))
    assert len(masks) == 20
    assert all(set(np.unique(mask)) <= {0, 4} for mask in masks.values())


def test_the_recipe_for_a_report_page_adds_one(
    drawn: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate(drawn, ["top_only", "masks_fused"], cams=False)
    blocks = recipe("A report page")
    names: dict[str, Any] = {}
    exec(blocks["python"], names)
    templates = tmp_path / "templates"
    shutil.copytree(page_parts.TEMPLATES, templates)
    (templates / "drivers.html.jinja").write_text(blocks["jinja"])
    (place, template) = re.search(r'yield Page\("(\S+)", "(\S+)", drivers\.page\(site\)\)', CONTRIBUTING).groups()  # type: ignore[union-attr]
    usual = write.list_pages
    monkeypatch.setattr(page_parts, "TEMPLATES", templates)
    monkeypatch.setattr(
        write, "list_pages", lambda site: [*usual(site), write.Page(place, template, names["page"](site))]
    )
    folder = tmp_path / "site"
    folder.mkdir()
    write_site(read_report_data(drawn), folder, "recipe", most=20, log=quiet)
    assert "p002" in (folder / "drivers.html").read_text().split("<main")[1]
