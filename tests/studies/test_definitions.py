"""The runs behind the book's tables."""

import pytest

from ris_lib import create_model
from studies.__main__ import planned
from studies.definitions import SEEDS, STUDIES, VARIANTS, variants_of
from studies.run import config_of


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_can_be_built_and_is_no_other(name):
    model = create_model(VARIANTS[name].model, **VARIANTS[name].changes)
    twins = [
        other
        for other, variant in VARIANTS.items()
        if (variant.model, variant.changes, variant.settings)
        == (VARIANTS[name].model, VARIANTS[name].changes, VARIANTS[name].settings)
    ]
    assert twins == [name]
    assert model.weights


def test_every_variant_is_used_and_every_pair_differs():
    used = {name for study in STUDIES for name in variants_of(study)}
    assert used == set(VARIANTS)
    assert all(with_it != without for study in STUDIES.values() for with_it, without in study.pairs)


def test_a_shared_variant_is_trained_once():
    runs = planned(list(STUDIES), list(SEEDS))
    assert len(runs) == len(set(runs)) == len(VARIANTS) * len(SEEDS)


def test_runs_differ_in_the_variant_and_the_seed_alone():
    settings = [config_of(name, 3).to_dict() for name in VARIANTS]
    free = {"out", "model", "changes", "same_sentence", "shuffle_sentences", "start"}
    rest = [{key: value for key, value in one.items() if key not in free} for one in settings]
    assert all(one == rest[0] for one in rest)
    assert rest[0]["seed"] == 3
    assert rest[0]["threads"] == 1


def test_unknown_names_are_told():
    with pytest.raises(ValueError, match="unknown study 'mixtures'; did you mean 'mixture'"):
        variants_of("mixtures")
    with pytest.raises(ValueError, match="unknown variant 'lavd'; did you mean 'lavt'"):
        config_of("lavd", 0)
