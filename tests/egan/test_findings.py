"""What is said of a run: its findings in words, and its lineage, a view of the log."""

import csv
import json

import pytest
import torch

import egan
from egan.data import Table
from egan.directory import Directory
from egan.findings import paragraph, write_lineage
from egan.run import run_in
from egan.scores import accuracy
from egan.settings import merge
from populations import checkpoint
from populations.errors import UsageError

MANY = {"population": {"mu": 2, "parents": "compete"}, "records": {"pictures": 1}}


def rows(path):
    return [json.loads(line) for line in (path / "log.jsonl").read_text().splitlines()]


def lineage(path):
    with open(path / "lineage.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def whole(small, tmp_path_factory):
    """A run that was never stopped, and who lived in it after each generation."""
    path, seen = tmp_path_factory.mktemp("whole") / "run", {}
    run_in(
        Directory(path),
        merge(small, MANY),
        on_generation=lambda state, row: seen.update({state.generation: state.population}),
    )
    return path, seen


def test_stopped_and_resumed_the_lineage_equals_that_of_a_run_never_stopped(small, whole, tmp_path):
    for stop in (1, 6, 12):
        run_in(Directory(tmp_path), merge(small, MANY),
               on_generation=lambda state, row, stop=stop: state.generation >= stop)  # fmt: skip
        assert max(int(line["generation"]) for line in lineage(tmp_path)) == stop
    assert (tmp_path / "lineage.csv").read_bytes() == (whole[0] / "lineage.csv").read_bytes()


def test_what_the_log_loses_past_a_checkpoint_the_lineage_loses_too(small, whole, tmp_path):
    path = tmp_path / "run"
    run_in(Directory(path), merge(small, MANY))
    for stale in checkpoint.all_in(path / "checkpoints")[1:]:
        stale.unlink()
    (path / "scores.json").unlink()  # the mark of the end
    (kept,) = checkpoint.all_in(path / "checkpoints")
    until = int(kept.stem) + 1
    assert until < 12
    run_in(Directory(path), {}, on_generation=lambda state, row: state.generation >= until)
    expected = [line for line in lineage(whole[0]) if int(line["generation"]) <= until]
    assert lineage(path) == expected
    assert len(expected) < len(lineage(whole[0]))


def test_the_lineage_has_one_line_for_each_who_ever_survived(whole):
    path, seen = whole
    found = lineage(path)
    assert list(found[0]) == ["parent", "number", "mutation", "generation", "fitness"]
    first = {}
    for generation, population in seen.items():
        for one in population:
            first.setdefault(one.number, (generation, one))
    born = [line for line in found if line["generation"] != "0"]
    assert len(born) == len(first)
    for line in born:
        generation, one = first[int(line["number"])]
        assert int(line["generation"]) == generation
        assert (int(line["parent"]), line["mutation"]) == (one.parent, one.mutation)
        assert float(line["fitness"]) == one.total
    roots = [line for line in found if line["generation"] == "0"]
    assert [(line["number"], line["parent"], line["mutation"]) for line in roots] == [
        ("0", "-1", "initial"), ("1", "-1", "initial"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [
        {"population": {"crossover": "distillation"}, "variation": {"lr": 0.1}},
        {"population": {"selection": "chain"}},
        {"population": {"mu": 4, "selection": "random", "crossover": "layer-swap"}},
    ],
    ids=["crossover", "chain", "random"],
)
def test_everybody_descends_from_the_first_also_by_way_of_who_did_not_survive(
    small, tmp_path, changes
):
    run_in(Directory(tmp_path), merge(small, changes))
    parents = {line["number"]: line["parent"] for line in lineage(tmp_path)}
    assert len(parents) == len(lineage(tmp_path))
    assert any(row["between"] for row in rows(tmp_path))
    for number in parents:
        above = number
        while above != "-1":
            assert int(parents[above]) < int(above)
            above = parents[above]


def test_networkx_reads_the_lineage_as_a_tree(whole):
    networkx = pytest.importorskip("networkx")
    lines = (whole[0] / "lineage.csv").read_text().splitlines()
    tree = networkx.parse_edgelist(
        lines[1:], delimiter=",", nodetype=int, create_using=networkx.DiGraph,
        data=[("mutation", str), ("generation", int), ("fitness", float)],
    )  # fmt: skip
    assert networkx.is_arborescence(tree)
    assert tree.in_degree(-1) == 0
    number = whole[1][12][0].number
    assert networkx.has_path(tree, -1, number)
    ((_, edge),) = [(u, data) for u, v, data in tree.edges(data=True) if v == number]
    assert edge["mutation"] == whole[1][12][0].mutation


def test_the_lineage_of_a_log_from_before_fitness_was_in_it_can_be_written(small, whole, tmp_path):
    directory = Directory(tmp_path)
    old = rows(whole[0])
    for row in old:
        del row["between"]
        for one in row["population"]:
            del one["fitness"]
    directory.log.write_text("".join(json.dumps(row) + "\n" for row in old))
    write_lineage(directory)
    assert [{**line, "fitness": "nan"} for line in lineage(whole[0])] == lineage(tmp_path)


def test_what_is_said_of_stacked_images_is_what_was_counted_and_by_whom(small, tmp_path):
    settings = {
        "data": "stacked-digits",
        "generations": 4,
        "networks": {"name": "convolutional", "width": 4},
        "records": {"pictures": 1, "final_samples": 1300},
    }
    world = run_in(Directory(tmp_path), merge(small, settings)).world
    said = paragraph(Directory(tmp_path), world.data)
    scored = json.loads((tmp_path / "scores.json").read_text())["final"]
    assert scored["samples"] == 1300
    assert scored["classifier"] == accuracy(world.data) >= 0.97
    modes, sure = scored["modes"], scored["confidence"]
    assert 1 <= modes["score"] < modes["real"]
    assert (
        f"The final generator covers {modes['score']:,.0f} of 1,000 triples of classes in 1,300 "
        f"samples, {scored['reverse-kl']['score']:.2g} nats of KL divergence from equal shares "
        f"(real data: {modes['real']:,.0f}, {scored['reverse-kl']['real']:.2g}). The classifier "
        f"that says so is right in {scored['classifier']:.1%} of held-out images, and "
        f"{sure['score']:.1%} sure of what it sees (real data: {sure['real']:.1%})."
    ) in said
    (row,) = [each for each in rows(tmp_path) if each["generation"] == 4]
    assert row["score"]["modes"] >= 1


def test_a_classifier_that_cannot_judge_is_asked_only_by_who_names_it(small, tmp_path, caplog):
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(120, 2, generator=generator)
    table = Table("own", values, torch.arange(120) % 2)
    with pytest.raises(UsageError, match="the score 'confidence' cannot judge own: "):
        egan.evolve(table, config=small, run=tmp_path / "run", records={"judge": "confidence"})
    assert not (tmp_path / "run" / "config.json").exists()
    (warning,) = (each for each in caplog.messages if "Classes are not judged" in each)
    assert "the classifier of own is right in only " in warning
    assert list(egan.evolve(table, config=small).score(100)) == ["energy-distance"]
