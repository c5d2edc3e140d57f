"""The facts hold together."""

from distracted_pipeline.vocabulary import CLASS_IDS, MASK_NAMES, SEED_SPLIT, SUBJECTS


def test_the_seeds_split_is_18_4_4_of_26_distinct_drivers() -> None:
    assert [len(SEED_SPLIT[part]) for part in ("train", "dev", "test")] == [18, 4, 4]
    assert len(set(SUBJECTS)) == 26


def test_ten_classes_in_kaggles_order_and_six_categories_after_none() -> None:
    assert tuple(f"c{k}" for k in range(10)) == CLASS_IDS
    assert MASK_NAMES[0] == "none"
    assert len(MASK_NAMES) == 7
