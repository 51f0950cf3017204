"""Plug-ins are found by name, by path or as they are; what is not found is explained."""

import collections
import math

import pytest
import torch

from populations.errors import UsageError
from populations.registry import first_line, import_attribute, lookup, spell, unknown

ENTRIES = {"minimax": 1, "heuristic": 2, "least-squares": 3}


class Outer:
    """A class.

    With more to say.
    """

    class Inner:
        pass

    def __call__(self):
        pass


def message(kind, name, entries=ENTRIES):
    with pytest.raises(UsageError) as error:
        lookup(kind, name, entries)
    return str(error.value)


@pytest.mark.parametrize("name", ENTRIES)
def test_a_registered_name_gives_its_entry(name):
    assert lookup("mutation", name, ENTRIES) == ENTRIES[name]


def test_an_unknown_name_is_answered_with_the_nearest_and_all_valid_ones():
    assert message("mutation", "heurist") == (
        "unknown mutation 'heurist': did you mean 'heuristic'? "
        "valid are heuristic, least-squares, minimax."
    )


def test_a_name_near_nothing_is_answered_with_the_valid_ones_only():
    assert message("mutation", "xyz") == (
        "unknown mutation 'xyz': valid are heuristic, least-squares, minimax."
    )


def test_where_nothing_is_registered_the_answer_says_which_form_a_name_has():
    assert message("generator", "xyz", {}) == (
        "unknown generator 'xyz': it must have the form package.module:attribute."
    )


def test_valid_names_are_listed_in_alphabetical_order():
    assert unknown("thing", "q", ["b", "c", "a"]).endswith("valid are a, b, c.")


def test_a_path_is_imported():
    assert lookup("mutation", "math:hypot", ENTRIES) is math.hypot
    assert lookup("mutation", "collections:OrderedDict.fromkeys", ENTRIES)("ab") == {
        "a": None,
        "b": None,
    }


def test_a_registered_name_wins_over_an_import():
    assert lookup("mutation", "math:pi", {"math:pi": 3}) == 3


def test_a_module_in_the_working_directory_is_found(tmp_path, monkeypatch):
    (tmp_path / "a_plugin_of_my_own.py").write_text("answer = 42\n")
    monkeypatch.chdir(tmp_path)
    assert import_attribute("score", "a_plugin_of_my_own:answer") == 42


@pytest.mark.parametrize("thing", [math.hypot, Outer, Outer(), lambda: 1, torch.nn.Linear(1, 1)])
def test_what_is_no_string_passes_through(thing):
    assert lookup("mutation", thing, ENTRIES) is thing


@pytest.mark.parametrize(
    "path",
    ["no_such_module:thing", "math:nothing", "math:", ":pi", "math:pi.nothing", "./folder:thing"],
)
def test_a_path_that_cannot_be_imported_is_named(path):
    assert message("mutation", path).startswith(f"the mutation {path!r} cannot be imported: ")


@pytest.mark.parametrize(
    ("thing", "text"),
    [
        ("least-squares", "least-squares"),
        (collections.OrderedDict, "collections:OrderedDict"),
        (lookup, "populations.registry:lookup"),
        (Outer.Inner, f"{__name__}:Outer.Inner"),
        (Outer(), f"{__name__}:Outer"),
    ],
)
def test_a_plug_in_is_spelled_by_where_it_is_defined(thing, text):
    assert spell(thing) == text


@pytest.mark.parametrize("thing", [lookup, collections.OrderedDict, math.hypot])
def test_what_is_spelled_is_found_again(thing):
    assert lookup("plug-in", spell(thing), {}) is thing


def test_the_first_line_of_a_docstring_describes_a_plug_in():
    assert first_line(Outer) == "A class."
    assert first_line(Outer.Inner) == ""
