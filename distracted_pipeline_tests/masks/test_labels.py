import pytest

from distracted_pipeline.dataset import STATE_FARM
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.masks.labels import category_table, label_names


def test_coco_names_become_the_original_project_s_ids() -> None:
    table, missing = category_table(dict(enumerate(STATE_FARM.category_names)), "m", STATE_FARM.categories)
    assert table.tolist() == [1, 2, 3, 4, 5, 6]
    assert missing == []


@pytest.mark.parametrize("count", [80, 133])
def test_as_many_labels_as_coco_has_without_names_are_coco_s(count: int) -> None:
    names = label_names({label: f"LABEL_{label}" for label in range(count)})
    table, missing = category_table(names, "m", STATE_FARM.categories)
    assert {int(label): int(table[label]) for label in table.nonzero()[0]} == {0: 1, 39: 2, 67: 3, 41: 4, 2: 5, 56: 6}
    assert (len(names), missing) == (count, [])


def test_other_numbers_and_names_are_left_alone() -> None:
    for labels in ({label: f"LABEL_{label}" for label in range(19)}, {label: f"thing {label}" for label in range(80)}):
        assert label_names(labels) is labels


def test_names_match_whatever_their_case_or_spelling() -> None:
    labels = {0: "background", 3: "Person", 5: "cell_phone", 7: "car, auto, automobile", 8: "Mug", 9: "cellphone"}
    table, missing = category_table(labels, "m", STATE_FARM.categories)
    assert {i: int(table[i]) for i in labels} == {0: 0, 3: 1, 5: 3, 7: 5, 8: 4, 9: 3}
    assert missing == ["bottle", "chair"]


def test_names_that_merely_contain_a_category_do_not_match() -> None:
    table, missing = category_table(
        {0: "diningtable", 1: "carrot", 2: "cupboard", 3: "wheelchair", 4: "cart", 5: "car"}, "m", STATE_FARM.categories
    )
    assert table.tolist() == [0, 0, 0, 0, 0, 5]
    assert "chair" in missing


def test_a_model_without_any_category_is_refused_with_its_labels() -> None:
    with pytest.raises(DistractedError, match=r"some/model knows none of person.*wall, sky.*DISTRACTED_SEGMENTER"):
        category_table({0: "wall", 1: "sky"}, "some/model", STATE_FARM.categories)
