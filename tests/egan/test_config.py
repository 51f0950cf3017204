"""Every setting is checked, wherever it comes from, and every message says what would be right."""

import ast
import dataclasses
import inspect
import json
import math
import types
import typing

import pytest

import egan.config
from egan.config import Config
from egan.losses import minimax
from egan.settings import Names, Settings, build, differences, flatten, merge, plain
from populations.errors import UsageError

LIMITS = {"low", "above", "high", "below"}


def fields_of(kind=Config, prefix=""):
    """Dotted name, type and metadata of every value of the configuration."""
    hints = typing.get_type_hints(kind)
    for item in dataclasses.fields(kind):
        if dataclasses.is_dataclass(hints[item.name]):
            yield from fields_of(hints[item.name], f"{prefix}{item.name}.")
        else:
            yield prefix + item.name, required(hints[item.name]), item.metadata


def required(hint):
    """The type without None."""
    if isinstance(hint, types.UnionType):
        return next(part for part in typing.get_args(hint) if part is not type(None))
    return hint


def optional(name):
    value = plain(Config())
    for part in name.split("."):
        value = value[part]
    return value is None


def number_of(hint):
    """int or float for a number or a mapping to numbers, else None."""
    if typing.get_origin(hint) is dict:
        hint = typing.get_args(hint)[1]
    return hint if hint in (int, float) else None


def nested(name, value, hint=None):
    """The nested mapping that gives one setting its value."""
    values = {"r1": value} if typing.get_origin(hint) is dict else value
    for part in reversed(name.split(".")):
        values = {part: values}
    return values


def refusal(values):
    with pytest.raises(UsageError) as error:
        build(Config, values)
    return str(error.value)


FIELDS = list(fields_of())
NUMBERS = [each for each in FIELDS if number_of(each[1])]


def beyond(hint, kind, limit):
    """The value nearest to a limit that it excludes."""
    if kind in ("above", "below"):
        return number_of(hint)(limit)
    down = kind == "low"
    if number_of(hint) is int:
        return limit - 1 if down else limit + 1
    return math.nextafter(limit, -math.inf if down else math.inf)


OUTSIDE = [
    pytest.param(name, hint, beyond(hint, kind, limit), id=f"{name}-{kind}")
    for name, hint, metadata in NUMBERS
    for kind, limit in metadata.items()
    if kind in LIMITS and limit is not None
]
ON_THE_LIMIT = [
    pytest.param(name, hint, limit, id=f"{name}-{kind}")
    for name, hint, metadata in NUMBERS
    for kind, limit in metadata.items()
    if kind in ("low", "high") and limit is not None
]
WRONG = {
    int: ["1", 1.5, True, [1], {}],
    float: ["0.5", True, [0.5], 1j],
    str: [5, 0.5, ["ring"], False],
    bool: [1, 0, "yes"],
    dict: [5, "r1", [0.02]],
    Names: [5, 0.5],
    typing.Literal: ["nonsense", 1, True],
}


def wrong_values():
    for name, hint, _ in FIELDS:
        values = WRONG[typing.get_origin(hint) or hint]
        yield from (pytest.param(name, value, id=f"{name}-{value!r}") for value in values)
        if not optional(name):
            yield pytest.param(name, None, id=f"{name}-None")


@pytest.mark.parametrize(("name", "hint", "metadata"), NUMBERS, ids=[each[0] for each in NUMBERS])
def test_every_number_has_a_range(name, hint, metadata):
    assert any(metadata.get(kind) is not None for kind in LIMITS)


@pytest.mark.parametrize(("name", "hint", "value"), OUTSIDE)
def test_a_value_just_outside_its_range_is_refused_by_name(name, hint, value):
    message = refusal(nested(name, value, hint))
    full = f"{name}.r1" if typing.get_origin(hint) is dict else name
    kind = "a whole number" if number_of(hint) is int else "a finite number"
    assert message.startswith(f"{full} is {value}: it must be {kind} ")


@pytest.mark.parametrize(("name", "hint", "value"), ON_THE_LIMIT)
def test_a_value_on_the_edge_of_its_range_is_kept(name, hint, value):
    settings = flatten(plain(build(Config, nested(name, value, hint))))
    if name != "horizon":  # 0 stands for the number of generations
        assert settings[f"{name}.r1" if typing.get_origin(hint) is dict else name] == value


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    ("name", "hint"), [(name, hint) for name, hint, _ in NUMBERS if number_of(hint) is float]
)
def test_a_number_that_is_not_finite_is_refused(name, hint, value):
    assert "it must be a finite number" in refusal(nested(name, value, hint))


@pytest.mark.parametrize(("name", "value"), list(wrong_values()))
def test_a_value_of_the_wrong_type_is_refused_by_name(name, value):
    assert refusal(nested(name, value)).startswith(f"{name} is {value!r}: it must ")


@pytest.mark.parametrize("group", ["networks", "environment"])
@pytest.mark.parametrize("value", [None, 5, "mlp"])
def test_a_group_is_not_a_single_value(group, value):
    assert refusal({group: value}) == f"{group} is {value!r}: it must be a group of settings."


@pytest.mark.parametrize("beta", ["variation.beta1", "variation.beta2", "environment.beta1"])
def test_a_decay_of_one_is_refused_since_adam_would_divide_by_zero(beta):
    assert refusal(nested(beta, 1.0)).startswith(f"{beta} is 1.0: it must be ")


def test_a_message_says_the_whole_range():
    assert refusal({"lr_final": 1.5}) == (
        "lr_final is 1.5: it must be a finite number of at least 0 and of at most 1."
    )
    assert refusal({"population": {"mu": 0}}) == (
        "population.mu is 0: it must be a whole number of at least 1."
    )
    assert refusal({"environment": {"fakes": "old"}}) == (
        "environment.fakes is 'old': it must be 'fresh' or 'judged' or 'bred'."
    )


def test_an_unknown_setting_is_answered_with_the_nearest_and_the_valid_ones():
    message = refusal({"variation": {"batchs": 5}})
    assert message.startswith("unknown setting 'variation.batchs': did you mean 'variation.batch'?")
    assert "valid are variation.adaptation, variation.batch," in message
    assert refusal({"sed": 5}).startswith("unknown setting 'sed': did you mean 'seed'?")


def test_a_whole_number_serves_as_a_number():
    lr = build(Config, {"variation": {"lr": 1}}).variation.lr
    assert (lr, type(lr)) == (1.0, float)


def test_names_are_made_from_text_with_commas():
    config = build(Config, {"variation": {"mutations": " minimax, heuristic ,"}})
    assert config.variation.mutations == ("minimax", "heuristic")


def test_a_run_needs_a_mutation():
    for empty in ("", [], " , "):
        assert refusal({"variation": {"mutations": empty}}) == (
            "variation.mutations is empty: name at least one loss."
        )


def test_parents_give_equal_parts_of_a_batch():
    message = refusal({"population": {"mu": 3}, "environment": {"batch": 7}})
    assert message == (
        "environment.batch is 7: it must be a multiple of population.mu (3), "
        "since every parent gives an equal part."
    )
    assert build(Config, {"population": {"mu": 3}, "environment": {"batch": 6}}).population.mu == 3


PACKED = {
    "population": {"mu": 2},
    "environment": {"packing": 3, "batch": 12},
    "variation": {"batch": 9},
    "fitness": {"samples": 24, "chunks": 4, "race": 0.9},
}


@pytest.mark.parametrize(("change", "message"), [
    ({"variation": {"batch": 8}},
     "variation.batch is 8: it must be a multiple of 3, whole packs of 3 samples "
     "(environment.packing)."),
    ({"fitness": {"samples": 16}},
     "fitness.samples is 16: it must be a multiple of 12, whole packs of 3 samples "
     "(environment.packing) in each of 4 chunks."),
    ({"fitness": {"samples": 16, "race": 0.0}},
     "fitness.samples is 16: it must be a multiple of 3, whole packs of 3 samples "
     "(environment.packing)."),
    ({"environment": {"batch": 8}},
     "environment.batch is 8: it must be a multiple of 6, whole packs of 3 samples "
     "(environment.packing) of each parent."),
])  # fmt: skip
def test_every_batch_and_every_part_of_it_is_whole_packs(change, message):
    assert build(Config, PACKED).environment.packing == 3
    assert refusal(merge(PACKED, change)) == message


@pytest.mark.parametrize(("mu", "samples"), [(1, 8), (2, 4), (4, 2)])
def test_judged_fakes_must_be_enough_for_all_steps_of_the_discriminator(mu, samples):
    values = {
        "population": {"mu": mu},
        "fitness": {"samples": samples},
        "environment": {"fakes": "judged", "batch": 4, "steps": 2},
    }
    assert build(Config, values).fitness.samples == samples
    message = refusal(merge(values, {"fitness": {"samples": samples - 1}}))
    assert message == (
        f"environment.fakes is 'judged': the discriminator reads {samples} samples of each "
        f"survivor, and fitness.samples is only {samples - 1}."
    )


def test_judged_fakes_need_generators_that_go_first():
    values = {"first": "environment", "environment": {"fakes": "judged", "batch": 4}}
    assert refusal(values) == "environment.fakes is 'judged': it needs first = 'generators'."


def test_the_horizon_is_the_first_number_of_generations_and_stays():
    config = build(Config, {"generations": 300})
    assert config.horizon == 300
    longer = build(Config, merge(plain(config), {"generations": 900}))
    assert (longer.generations, longer.horizon) == (900, 300)


def test_merge_is_deep_and_later_layers_win():
    first = {"a": {"x": 1, "y": {"z": 2}}, "b": 1}
    second = {"a": {"y": {"w": 3}}, "b": 2}
    third = {"a": {"x": 4}, "c": {"new": 5}}
    assert merge(first, second, third) == {
        "a": {"x": 4, "y": {"z": 2, "w": 3}},
        "b": 2,
        "c": {"new": 5},
    }


def test_merge_changes_none_of_its_layers():
    first, second, third = {"a": {"x": 1}}, {"a": {"y": 2}}, {"a": {"z": 3}}
    merge(first, second, third)
    assert (first, second, third) == ({"a": {"x": 1}}, {"a": {"y": 2}}, {"a": {"z": 3}})


VARIED = {
    "data": "grid",
    "data_options": {"side": 3},
    "seed": 9,
    "networks": {"width": 16, "initial_deviation": 0.02},
    "variation": {"mutations": ["vanilla"], "lr": 0.5},
    "environment": {"penalties": {"r1": 3.0}},
}


@pytest.mark.parametrize("values", [{}, VARIED])
def test_the_plain_form_gives_the_configuration_back(values):
    config = build(Config, values)
    assert build(Config, plain(config)) == config
    assert plain(build(Config, plain(config))) == plain(config)


def test_the_plain_form_goes_through_json_unchanged():
    config = build(Config, VARIED)
    assert build(Config, json.loads(json.dumps(plain(config)))) == config


def test_callables_are_spelled_in_the_plain_form():
    config = build(Config, {"variation": {"mutations": [minimax, "vanilla"]}})
    assert config.variation.mutations[0] is minimax
    assert plain(config)["variation"]["mutations"] == ["egan.losses:minimax", "vanilla"]


@pytest.mark.parametrize(("name", "hint", "metadata"), FIELDS, ids=[each[0] for each in FIELDS])
def test_no_setting_can_be_changed(name, hint, metadata):
    *groups, last = name.split(".")
    settings = Config()
    for group in groups:
        settings = getattr(settings, group)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(settings, last, 1)


def test_a_change_to_the_plain_form_does_not_reach_the_configuration():
    config = Config()
    plain(config)["environment"]["penalties"]["r1"] = 99.0
    assert config == Config()


def test_two_configurations_share_no_mapping():
    assert Config().environment.penalties is not Config().environment.penalties
    given = {"r1": 1.0}
    config = build(Config, {"environment": {"penalties": given}})
    given["r1"] = 2.0
    assert config.environment.penalties == {"r1": 1.0}


def test_differences_name_the_dotted_settings_and_both_values():
    theirs = plain(build(Config, {"seed": 0, "variation": {"lr": 0.25}}))
    ours = plain(build(Config, {"seed": 1, "variation": {"lr": 0.5}}))
    assert differences(ours, theirs) == ["seed (1, not 0)", "variation.lr (0.5, not 0.25)"]
    assert differences(ours, ours) == []


def test_differences_name_a_penalty_that_only_one_has():
    ours = plain(build(Config, {"environment": {"penalties": {"r1": 0.5}}}))
    theirs = plain(build(Config, {"environment": {"penalties": {"r1": 0.5, "r2": 0.25}}}))
    assert differences(ours, theirs) == ["environment.penalties.r2 (None, not 0.25)"]
    assert differences(theirs, ours) == ["environment.penalties.r2 (0.25, not None)"]


def test_flatten_keeps_empty_mappings():
    assert flatten({"a": {}, "b": {"c": {"d": 1}}}) == {"a": {}, "b.c.d": 1}


def groups_in_source():
    tree = ast.parse(inspect.getsource(egan.config))
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and "Settings" in [
            base.id for base in node.bases if isinstance(base, ast.Name)
        ]:
            yield node


def test_every_group_is_found_in_the_source():
    kinds = {each for each in vars(egan.config).values() if inspect.isclass(each)}
    settings = {each.__name__ for each in kinds if issubclass(each, Settings)} - {"Settings"}
    assert {node.name for node in groups_in_source()} == settings


@pytest.mark.parametrize("group", list(groups_in_source()), ids=lambda node: node.name)
def test_every_setting_is_described_where_it_is_declared(group):
    for item, following in zip(group.body, [*group.body[1:], None], strict=True):
        if isinstance(item, ast.AnnAssign):
            described = isinstance(following, ast.Expr) and isinstance(
                getattr(following.value, "value", None), str
            )
            assert described, f"{group.name}.{item.target.id} has no docstring"
            assert following.value.value.strip().endswith((".", "`"))
