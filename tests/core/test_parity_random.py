"""Random configurations: peft's targets, names, counts and outputs, or an error on both sides."""

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.closeness import assert_close

from .models import FAMILIES, LAYERS, build
from .peers import our_targets, raises_in_peft, twins, wrap_ours, wrap_theirs

CONCERNS_NO_TARGET = ("matches no target", "holds none of the targets", "leaves none of it over")


@st.composite
def configurations(draw) -> tuple[str, dict]:
    """A family and options that are valid one by one; together they may still match nothing."""
    name = draw(st.sampled_from(sorted(FAMILIES)))
    family = FAMILIES[name]
    suffixes = st.lists(st.sampled_from(family.targets), min_size=1, max_size=3, unique=True)
    ranks = st.integers(1, 3)
    keys = st.sampled_from([*family.targets, rf"{family.layers}\.1\..*", r".*\.0\..*"])
    options = {
        "r": draw(ranks),
        "lora_alpha": draw(st.integers(1, 32)),
        "target_modules": draw(st.one_of(suffixes, st.just("all-linear"), st.just(family.regex))),
        "use_rslora": draw(st.booleans()),
        "bias": draw(st.sampled_from(["none", "all", "lora_only"])),
        "init_lora_weights": draw(st.sampled_from([True, False, "gaussian"])),
        "rank_pattern": draw(st.dictionaries(keys, ranks, max_size=2)),
        "alpha_pattern": draw(st.dictionaries(keys, st.integers(1, 9), max_size=2)),
        "exclude_modules": draw(st.one_of(st.none(), suffixes, st.just(family.regex))),
        "modules_to_save": draw(st.sampled_from([None, [family.head]])),
    }
    if isinstance(options["target_modules"], list):
        layers = st.lists(st.integers(0, LAYERS), min_size=1, max_size=2, unique=True)
        options["layers_to_transform"] = draw(st.one_of(st.none(), st.integers(0, LAYERS), layers))
        if options["layers_to_transform"] is not None:
            options["layers_pattern"] = draw(st.sampled_from([None, family.layers]))
    return name, options


@settings(max_examples=60, deadline=None)
@given(configurations())
def test_any_configuration(configuration):
    family, options = configuration
    if raises_in_peft(lambda: wrap_theirs(build(family), options)):
        base = build(family)
        try:
            wrap_ours(base, options)
        except ValueError:
            return
        raise AssertionError(f"peft refuses this, and we don't: {options}")
    try:
        pair = twins(family, options)
    except ValueError as error:  # peft passes over an entry that concerns no target
        assert any(words in str(error) for words in CONCERNS_NO_TARGET), options
        return
    assert our_targets(pair.ours) == set(pair.theirs.base_model.targeted_module_names)
    assert pair.ours.get_nb_trainable_parameters() == pair.theirs.get_nb_trainable_parameters()
    assert_close(*pair.answers(), "logits")
