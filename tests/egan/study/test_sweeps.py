"""Sweeps: what may stand in brackets, and what it becomes."""

import pytest

from egan.study.sweeps import swept
from populations.errors import UsageError


def choices(text):
    return [(choice.text, choice.settings) for choice in swept(text)]


def test_without_brackets_there_is_one_choice_without_settings():
    assert choices("ring") == [("ring", {})]


def test_all_choices_of_all_settings_in_order():
    assert choices("egan[gamma=0, 0.1; mu=1,2]") == [
        ("egan[gamma=0; mu=1]", {"gamma": 0, "mu": 1}),
        ("egan[gamma=0; mu=2]", {"gamma": 0, "mu": 2}),
        ("egan[gamma=0.1; mu=1]", {"gamma": 0.1, "mu": 1}),
        ("egan[gamma=0.1; mu=2]", {"gamma": 0.1, "mu": 2}),
    ]


def test_lists_texts_and_truths_are_yaml():
    assert choices("gan[mutations=[minimax,heuristic],[hinge]; spectral_norm=true]") == [
        ("gan[mutations=[minimax,heuristic]; spectral_norm=true]",
         {"mutations": ["minimax", "heuristic"], "spectral_norm": True}),
        ("gan[mutations=[hinge]; spectral_norm=true]",
         {"mutations": ["hinge"], "spectral_norm": True}),
    ]  # fmt: skip


def test_powers_of_ten_are_numbers():
    assert [each["lr"] for _, each in choices("gan[lr=1e-3,2.5E-4,1e30]")] == [1e-3, 2.5e-4, 1e30]


@pytest.mark.parametrize("text", ["egan[gamma=0,1; mu=2]", "gan[mutations=[a,b],[c]]"])
def test_the_text_of_a_choice_names_that_choice(text):
    for choice in swept(text):
        assert list(swept(choice.text)) == [choice]


@pytest.mark.parametrize(("text", "says"), [
    ("egan[gamma=0", "a bracket that does not close"),
    ("egan[gamma]", "must be a setting and its value"),
    ("egan[=3]", "must be a setting and its value"),
    ("egan[gamma=]", "must be a setting and its value"),
    ("egan[gamma={]", "cannot be read"),
])  # fmt: skip
def test_another_form_is_one_sentence(text, says):
    with pytest.raises(UsageError, match=says):
        list(swept(text))
