"""Colours: enough of them, told apart, and paler in later rounds."""

from egan.palette import COLOURS, faint, styles


def test_no_two_of_the_first_28_are_drawn_alike():
    found = styles(map(str, range(28)))
    assert len(set(found.values())) == 28
    assert len({style.fill for style in found.values()}) == 28


def test_the_first_round_is_the_palette_and_the_second_is_dashed():
    found = list(styles(map(str, range(8))).values())
    assert [style.colour for style in found[:7]] == list(COLOURS)
    assert all(style.fill == style.colour for style in found[:7])
    assert (found[0].dash, found[7].dash) == ("solid", "dash")
    assert found[7] == ("#0072B2", "dash", "#4C9CC9")


def test_names_keep_their_styles_whatever_follows():
    assert styles(["a", "b"])["b"] == styles(["a", "b", "c"])["b"]


def test_a_faint_colour_is_the_same_colour():
    assert faint("#0072B2", 0.15) == "rgba(0, 114, 178, 0.15)"
