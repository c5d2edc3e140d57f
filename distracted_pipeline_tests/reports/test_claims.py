"""What pages claim: what p and verdict are corrected for, whom they answer for, and what counts as evidence.

Scores are drawn up, since the few drivers of the test data decide nothing.
"""

import re
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from distracted_pipeline.evaluation.comparison import IMPROVED, UNDETERMINED
from distracted_pipeline.evaluation.table_schemas import ClassScore
from distracted_pipeline.explanation.tables import EVERY_CLASS, Lift
from distracted_pipeline.reports.build import build_report, write_site
from distracted_pipeline.reports.page_parts import TEMPLATES
from distracted_pipeline.reports.read_report_data import read_report_data
from distracted_pipeline.reports.report_data import ReportData
from distracted_pipeline.reports.verdict import leaderboard
from distracted_pipeline.settings import Settings
from distracted_pipeline_tests.damage import write_unsealed
from distracted_pipeline_tests.reports.conftest import quiet
from distracted_pipeline_tests.reports.pages import text

LIFTS = [
    Lift(class_id=EVERY_CLASS, category=name, lift=lift, permuted=1.27, ratio=ratio, ratio_low=low, ratio_high=high)
    for name, lift, ratio, low, high in (
        ("person", 1.25, 0.98, 0.91, 1.06),
        ("cell phone", 2.54, 2.0, 1.41, 2.9),
        ("cup", 0.64, 0.5, 0.3, 0.8),
        ("car", 1.9, 1.5, None, None),
    )
]


def drawn_up(report: ReportData) -> ReportData:
    """Give fine-tuning one class decided over all questions, one decided among its own only, and a decided mean."""

    def score(found: ClassScore) -> ClassScore:
        k = found.class_id if found.variant == "fine_tune" else 0
        p, own, together = {1: (0.0004, 0.004, 0.03), 2: (0.004, 0.036, 0.21)}.get(k, (0.5, 1.0, 1.0))
        verdict = IMPROVED if together < 0.05 else UNDETERMINED
        parts = {"delta_sd_drivers": 0.01, "delta_sd_training": 0.01, "delta_sd_double": 0.01, "df": 9.0}
        return replace(found, delta_recall=0.1, p=p, p_own=own, p_holm=together, verdict=verdict, **parts)

    main = report.main
    others = [name for name in main.variants if name != report.baseline]
    assert others == ["fine_tune", "masks_only"]
    scores = replace(
        main,
        classes=main.classes | {name: [score(found) for found in main.classes[name]] for name in others},
        variants=main.variants
        | {
            name: replace(main.variants[name], macro_delta=0.05, macro_p_holm=0.012 if name == "fine_tune" else 1.0)
            for name in others
        },
        cells=20,
        questions=20,
        means=2,
    )
    cams = {name: replace(found, lifts=LIFTS) for name, found in report.cams.items()}
    return replace(report, scopes={**report.scopes, main.name: scores}, cams=cams)


@pytest.fixture(scope="module")
def site(evaluated: Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site on the drawn-up scores."""
    folder = tmp_path_factory.mktemp("claims")
    write_site(drawn_up(read_report_data(evaluated)), folder, "claims", most=3, width=80, log=quiet)
    return folder


@pytest.mark.parametrize("page", ["index.html", "summary.html", "compare.html"])
def test_the_heatmap_frames_what_is_decided_among_all_questions_and_no_other(site: Path, page: str) -> None:
    figure = (site / page).read_text(encoding="utf-8").partition('class="heatmap"')[2].partition("</svg>")[0]
    titles = re.findall(r"<g><title>([^<]+)</title>(?:(?!</g>).)*class=\"frame", figure)
    assert [title.partition(":")[0] for title in titles] == [
        "Fine-tuning, c1 texting - right",
        "Fine-tuning, mean of the classes",
    ]
    assert titles[0].endswith("p .030 (Holm over 20 questions), improved")
    assert titles[1].endswith("+.05, p .012 (Holm over 2 variants)")


@pytest.mark.parametrize(("page", "figures"), [("compare", 20), ("variants/fine_tune", 10), ("classes/c1", 2)])
def test_every_figure_of_a_difference_has_the_interval_that_agrees_with_its_verdict(
    site: Path, page: str, figures: int
) -> None:
    html = (site / f"{page}.html").read_text(encoding="utf-8")
    found = re.findall(r'<svg[^>]*class="track"[^>]*><title>(difference [^<]*)</title>(.*?)</svg>', html)
    assert len(found) == figures
    for title, drawn in found:
        assert 'class="luck"' in drawn, "the band of what training both once more moves"
        assert 'class="corrected' in drawn
        low = title.partition("corrected [")[2]
        decided = 'class="dot up"' in drawn
        assert low.startswith("+") == decided, title
    assert sum("dot up" in drawn for _, drawn in found) == 1
    assert "leaves out 0 exactly where a class is decided" in text(site / f"{page}.html")


def test_a_recall_alone_is_drawn_without_a_verdict(site: Path) -> None:
    html = (site / "variants/fine_tune.html").read_text(encoding="utf-8")
    recalls = re.findall(r'<svg[^>]*class="track"[^>]*><title>recall .*?</svg>', html)
    assert len(recalls) == 10
    assert all('class="dot even"' in drawn for drawn in recalls)


def test_what_undetermined_and_p_mean_is_said_where_they_first_appear(site: Path) -> None:
    said = text(site / "index.html")
    first = said.index("undetermined")
    nearby = said[first : first + 200]
    assert "Undetermined means that these drivers and trainings cannot tell, not that nothing changed" in nearby
    explained = said.partition("Leaderboard")[0]
    assert "a t test whose variance is that between drivers and between trainings" in explained
    assert "the test that swaps whole drivers between the two variants at random" in explained
    compared = text(site / "compare.html")
    assert compared.index("swaps whole drivers") < compared.index("undetermined")


def test_headline_and_class_pages_claim_the_verdict_corrected_over_all_questions(site: Path) -> None:
    assert "1 of 10 classes improved, 0 worsened, 9 undetermined" in text(site / "index.html")
    assert "Improved by Fine-tuning." in text(site / "classes" / "c1.html")
    second = text(site / "classes" / "c2.html")
    assert "No variant has a decided effect on this class." in second
    assert "p_own" not in second


@pytest.mark.parametrize(
    ("page", "said"),
    [
        ("index.html", "corrected by Holm over all 20 questions asked (each class of each variant)"),
        ("index.html", "p (Holm over 2 variants)"),
        ("index.html", "corrected by Holm over the 2 variants compared"),
        ("summary.html", "after Holm's correction over all 20 questions asked"),
        ("summary.html", "p (Holm over 2 variants)"),
        ("compare.html", "p (Holm over 20 questions)"),
        ("classes/c1.html", "p (Holm over 20 questions)"),
        ("variants/fine_tune.html", "p (Holm over 20 questions)"),
    ],
)
def test_wherever_p_stands_the_number_of_questions_stands_with_it(site: Path, page: str, said: str) -> None:
    assert said in text(site / page)
    assert not re.search(r"\bp \(Holm\)|>p</th>", (site / page).read_text(encoding="utf-8"))


def test_a_variant_page_has_a_second_level_that_gives_no_verdict(site: Path) -> None:
    page = site / "variants" / "fine_tune.html"
    said = text(page)
    assert "p_own (Holm over its own 10)" in said
    assert "asked of this technique alone: corrected over its own 10 classes" in said
    assert "the verdict does not follow it" in said
    (row,) = re.findall(r"<tr>\s*<th scope=\"row\">[^\n]*classes/c2.html.*?</tr>", page.read_text("utf-8"), re.DOTALL)[
        :1
    ]
    assert ("<td>.210</td>" in row, '<td class="quiet">.036</td>' in row, "undetermined" in row) == (True,) * 3
    for other in ("index.html", "summary.html", "compare.html", "variants/top_only.html"):
        assert "p_own" not in text(site / other)


@pytest.mark.parametrize("page", ["index.html", "summary.html"])
def test_whom_verdicts_answer_for_is_said_in_one_sentence(site: Path, page: str) -> None:
    said = text(site / page)
    assert said.count("Verdicts answer for the technique, trained again, on other drivers.") == 1
    assert "Numbers are means over 2 trainings of each fold" in said


def test_how_many_drivers_it_takes_is_computed_from_the_questions(site: Path) -> None:
    for page in ("index.html", "compare.html", "classes/c1.html", "variants/fine_tune.html"):
        assert "20 questions at once take 10, or even unanimous drivers leave p above .05" in text(site / page)


def test_where_every_variant_lacks_folds_they_are_ranked_on_the_drivers_in_common(
    evaluated: Settings, tmp_path: Path
) -> None:
    report = drawn_up(read_report_data(evaluated))
    recalls = {"top_only": (0.9, 0.3), "fine_tune": (0.5, 0.5), "masks_only": (0.6, 0.4)}
    scores = {
        name: replace(score, macro_recall=own, ranked_recall=shared, folds_missing=["1"], flattery=0.0123)
        for name, score in report.main.variants.items()
        for own, shared in (recalls[name],)
    }
    report = replace(report, scopes={"oof": replace(report.main, variants=scores)})
    assert [score.variant for score in leaderboard(report)] == ["fine_tune", "masks_only", "top_only"]
    write_site(report, tmp_path, "common", most=3, width=80, log=quiet)
    said = text(tmp_path / "summary.html")
    assert "ranked on the drivers that all of them predict" in said
    assert ".90 [.30]" in said
    assert "flatters it by about .012 (bootstrap over drivers)" in said


def test_only_a_ratio_to_permuted_cams_whose_interval_leaves_out_one_is_evidence(site: Path) -> None:
    page = site / "variants" / "fine_tune.html"
    said = text(page)
    assert "Only the ratio of the two (each driver's own, then the mean) is evidence" in said
    assert "only where its 95% interval leaves out 1" in said
    (table,) = re.findall(r"<table>\s*<caption>Lift:.*?</table>", page.read_text(encoding="utf-8"), re.DOTALL)
    rows = [re.findall(r"<td[^>]*>([^<]*)</td>", row) for row in table.split("<tr>")[2:]]
    assert [(row[0], row[1], row[-5], row[-4], row[-3]) for row in rows] == [
        ("1.25", "1.27", "0.98", "[0.91, 1.06]", "no evidence"),
        ("2.54", "1.27", "2.00", "[1.41, 2.90]", "more than place explains"),
        ("0.64", "1.27", "0.50", "[0.30, 0.80]", "less than place explains"),
        ("1.90", "1.27", "1.50", "–", "–"),
    ]
    assert [table.count(f'class="dot {kind}"') for kind in ("even", "up", "down")] == [2, 1, 1]


def test_lifts_without_those_of_permuted_cams_are_not_shown(evaluated: Settings, tmp_path: Path) -> None:
    report = drawn_up(read_report_data(evaluated))
    alone = [Lift(class_id=EVERY_CLASS, category="person", lift=1.25)]
    cams = {name: replace(found, lifts=alone) for name, found in report.cams.items()}
    write_site(replace(report, cams=cams), tmp_path, "alone", most=3, width=80, log=quiet)
    said = text(tmp_path / "variants" / "fine_tune.html")
    assert "There are no lifts beside those of permuted Grad-CAMs yet" in said
    assert "1.25" not in said


def test_dev_drivers_are_never_called_unseen(site: Path, evaluated: Settings, tmp_path: Path) -> None:
    report = drawn_up(read_report_data(evaluated))
    dev = replace(report, scopes={"dev": replace(report.main, name="dev")})
    write_site(dev, tmp_path, "dev", most=3, width=80, log=quiet)
    for folder, said, other in (
        (site, "neither learned from these drivers nor chose their epoch on them", "epoch was chosen on them"),
        (tmp_path, "epoch was chosen on them, which flatters them", "nor chose their epoch"),
    ):
        page = text(folder / "images.html")
        assert said in page
        assert other not in page


def test_no_template_says_what_the_numbers_do_not(site: Path) -> None:
    for template in TEMPLATES.glob("*.jinja"):
        source = template.read_text(encoding="utf-8")
        assert not re.search(r"is chance|hardly|never saw|No model saw|suits some|seed_spread|heterogen", source), (
            template
        )
        assert not re.search(r"not for another training|trained once per fold|interval over drivers, the", source), (
            template
        )


def test_tables_of_an_earlier_version_are_said_to_be_corrected_for_less(pair: Settings) -> None:
    path = pair.evaluation / "class_accuracy.parquet"
    table = pq.read_table(path)
    p = pc.if_else(pc.equal(table["variant"], "fine_tune"), 0.5, pa.scalar(None, pa.float64()))
    table = table.drop_columns(["p_own", "p_holm"]).append_column("p_holm", p)
    write_unsealed(path, table)
    result = build_report(pair, log=quiet)
    assert any("corrected over each variant's own classes only: type dagster" in line for line in result.missing)
    said = text(result.path.parent / "variants" / "fine_tune.html")
    assert "Holm over" not in said.replace("corrected by Holm over the questions asked", "")
