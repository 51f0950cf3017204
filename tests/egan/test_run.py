"""Runs on disk: killed, resumed, extended, damaged, locked; what they leave behind."""

import json
import os
import signal
import struct
import subprocess
import sys
import textwrap
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

import egan
import egan.recorder
from egan.cli import main
from egan.directory import Directory, locked
from egan.generator import Generator
from egan.run import run_in
from populations import checkpoint
from populations.errors import RunError, UsageError

LONG = {
    "generations": 120,
    "records": {
        "checkpoint_every": 10,
        "score_every": 10,
        "score_samples": 64,
        "pictures": 6,
        "final_samples": 100,
    },
}


def weights(path, which="final"):
    return safetensors.torch.load_file(Directory(Path(path)).weights(which))


def rows(path, timed=False):
    found = [json.loads(line) for line in (path / "log.jsonl").read_text().splitlines()]
    return found if timed else [{**row, "seconds": 0} for row in found]


def equal_runs(left, right):
    for which in ("final", "best"):
        torch.testing.assert_close(weights(left, which), weights(right, which), rtol=0, atol=0)
    assert rows(left) == rows(right)
    pictures = [
        {frame.name: frame.read_bytes() for frame in Directory(path).frames()}
        for path in (left, right)
    ]
    assert len(pictures[0]) >= 4
    assert pictures[0] == pictures[1]


def command(path, settings):
    config = path.parent / f"{path.name}.json"
    config.write_text(json.dumps(settings))
    return [sys.executable, "-m", "egan", "evolve", "--config", str(config), "--run", str(path)]


@pytest.fixture(scope="module")
def reference(tmp_path_factory, small):
    """A run that was never stopped, and its settings."""
    settings = egan.settings.merge(small, LONG)
    path = tmp_path_factory.mktemp("reference") / "run"
    run_in(Directory(path), settings)
    return path, settings


@pytest.mark.parametrize("generation", [3, 25, 64])
def test_killed_at_any_moment_and_resumed_equals_never_stopped(reference, tmp_path, generation):
    path, settings = reference
    killed = tmp_path / "killed"
    process = subprocess.Popen(command(killed, settings), stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)  # fmt: skip
    wait_for(lambda: reached(killed, generation), process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not Directory(killed).animation.exists()
    run_in(Directory(killed), {})
    equal_runs(path, killed)


def reached(path, generation):
    """Whether the log or a checkpoint shows that so many generations are done."""
    log = path / "log.jsonl"
    logged = log.read_bytes().count(b"\n") if log.exists() else 0
    saved = [int(file.stem) for file in path.glob("checkpoints/*.pt")]
    return max([logged, *saved]) >= generation


def script(code, *arguments):
    """Run Python code in a process of its own."""
    words = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, check=False)


def wait_for(condition, process, seconds=240):  # worker processes start slowly on a busy machine
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, "the process ended early"
        assert time.monotonic() < end
        time.sleep(0.002)


def test_stopped_between_generations_and_resumed_equals_never_stopped(reference, tmp_path):
    path, settings = reference
    stops = [1, 10, 11, 47]
    stopped = tmp_path / "stopped"
    for stop in stops:
        run_in(
            Directory(stopped),
            settings,
            on_generation=lambda state, row, stop=stop: state.generation >= stop,
        )
        torch.manual_seed(stop)  # what others do to the global generators must not matter
    run_in(Directory(stopped), {})
    equal_runs(path, stopped)


def test_a_finished_run_extended_equals_one_that_was_long_from_the_start(small, tmp_path):
    short, long = tmp_path / "short", tmp_path / "long"
    run_in(Directory(short), {**small, "generations": 6, "horizon": 12})
    run_in(Directory(short), {"generations": 12})
    run_in(Directory(long), {**small, "generations": 12, "horizon": 12})
    equal_runs(long, short)
    assert json.loads((short / "config.json").read_text())["generations"] == 12


def test_the_horizon_stays_when_a_run_is_extended(small, tmp_path):
    run_in(Directory(tmp_path), {**small, "generations": 6})
    outcome = run_in(Directory(tmp_path), {"generations": 9})
    assert (outcome.config.generations, outcome.config.horizon) == (9, 6)


def test_a_finished_run_is_left_as_it_is(small, tmp_path):
    run_in(Directory(tmp_path), small)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert run_in(Directory(tmp_path), {}).ran is False
    after = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    before.pop(tmp_path / ".lock"), after.pop(tmp_path / ".lock")
    assert after == before


def inside(path, content):
    """A place in the largest tensor of a checkpoint: between tensors nothing would be lost."""
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda each: each.file_size)
    name, extra = struct.unpack_from("<HH", content, largest.header_offset + 26)
    return largest.header_offset + 30 + name + extra + largest.file_size // 2


@pytest.mark.parametrize("damage", ["truncated", "altered", "of other networks"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(reference, tmp_path, damage):
    path, settings = reference
    run = tmp_path / "run"
    run_in(Directory(run), settings, on_generation=lambda state, row: state.generation >= 20)
    newest = checkpoint.path_of(run / "checkpoints", 20)
    content = newest.read_bytes()
    if damage == "truncated":
        newest.write_bytes(content[: len(content) // 2])
    elif damage == "altered":
        middle = inside(newest, content)
        newest.write_bytes(
            content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :]
        )
    else:
        saved = torch.load(newest, weights_only=True)
        saved["population"][0]["weights"] = torch.zeros(3)
        torch.save(saved, newest)
    told = []
    run_in(Directory(run), {}, tell=told.append)
    assert str(newest) in told[0] or "other sizes" in told[0]
    assert told[0].endswith("Generation 10 is used instead.")
    equal_runs(path, run)


def test_without_any_good_checkpoint_nothing_is_lost(small, tmp_path):
    run_in(Directory(tmp_path), small)
    for path in tmp_path.glob("checkpoints/*.pt"):
        path.write_bytes(b"nonsense")
    before = weights(tmp_path)
    with pytest.raises(RunError, match=r"none of the checkpoints in .* can be read\.$"):
        run_in(Directory(tmp_path), {"generations": 20})
    torch.testing.assert_close(weights(tmp_path), before, rtol=0, atol=0)


def test_a_run_in_use_is_locked_and_the_lock_of_a_killed_process_does_not_stay(small, tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from egan.directory import *\n"
        "with locked(Directory(Path(sys.argv[1]))): print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(UsageError, match="is in use by another process"):
        run_in(Directory(tmp_path / "run"), small)
    holder.kill()
    holder.wait()
    holder.stdout.close()
    with locked(Directory(tmp_path / "run")):
        pass


def test_settings_that_differ_from_the_runs_are_named(small, tmp_path):
    run_in(Directory(tmp_path), small)
    with pytest.raises(UsageError) as caught:
        run_in(Directory(tmp_path), {"seed": 1, "fitness": {"gamma": 2.0, "samples": 16}})
    assert str(caught.value) == (
        f"the run {tmp_path} has other settings, fitness.gamma (2.0, not {small_gamma()}), "
        "seed (1, not 0): leave these options out, or name another directory."
    )
    with pytest.raises(UsageError, match="it can be extended, not cut to 5"):
        run_in(Directory(tmp_path), {"generations": 5})


def small_gamma():
    return egan.configure().fitness.gamma


def test_executor_and_workers_may_change_when_a_run_goes_on(reference, tmp_path):
    path, settings = reference
    run = tmp_path / "run"
    run_in(Directory(run), settings, on_generation=lambda state, row: state.generation >= 115)
    run_in(Directory(run), {"execution": {"executor": "processes", "workers": 2}})
    equal_runs(path, run)


def test_init_from_starts_with_another_runs_individuals(small, tmp_path):
    run_in(Directory(tmp_path / "old"), small)
    old = checkpoint.load(checkpoint.path_of(tmp_path / "old/checkpoints", 12))
    seen = []
    run_in(
        Directory(tmp_path / "new"),
        {**small, "init_from": str(tmp_path / "old"), "population": {"mu": 2}, "seed": 5},
        on_generation=lambda state, row: seen.append(row) or True,
    )
    first = egan.run.start(egan.assembly.make_world(egan.configure(
        small, {"init_from": str(tmp_path / "old"), "population": {"mu": 2}})))  # fmt: skip
    assert torch.equal(first.population[1].weights, old["population"][0]["weights"])
    assert torch.equal(first.environment.weights, old["environment"]["weights"])
    assert [row["parent"] for row in seen[0]["population"]] != [-1, -1]


def test_init_from_clips_the_other_runs_discriminator_too(small, tmp_path):
    run_in(Directory(tmp_path), small)
    old = checkpoint.load(checkpoint.path_of(tmp_path / "checkpoints", 12))["environment"]
    clipped = {"init_from": str(tmp_path), "environment": {"clip": 0.05}}
    world = egan.assembly.make_world(egan.configure(small, clipped))
    first = egan.run.start(world).environment
    assert torch.equal(first.weights, old["weights"].clamp(-0.05, 0.05))
    assert torch.equal(first.moments["mean"], old["moments"]["mean"])


def test_init_from_a_run_of_other_networks_is_an_error(small, tmp_path):
    run_in(Directory(tmp_path / "old"), small)
    wide = {**small, "networks": {"width": 8}, "init_from": str(tmp_path / "old")}
    with pytest.raises(UsageError, match="has other networks than this one"):
        run_in(Directory(tmp_path / "new"), wide)
    assert not (tmp_path / "new").exists()


def test_the_log_has_one_row_a_generation_and_its_scores(small, tmp_path):
    run_in(Directory(tmp_path), small)
    found = rows(tmp_path, timed=True)
    assert [row["generation"] for row in found] == list(range(1, 13))
    assert [row["generation"] for row in found if "score" in row] == [4, 8, 12]
    seconds = [row["seconds"] for row in found]
    assert seconds == sorted(seconds)
    for row in found:
        assert set(row["offspring"]) == set(row["selection"])
        assert sum(row["selection"].values()) == 1.0
        total = row["fitness"]["quality"] + small_gamma() * row["fitness"]["diversity"]
        assert row["fitness"]["total"] == pytest.approx(total)
        (winner,) = (name for name, share in row["selection"].items() if share)
        assert row["offspring"][winner]["total"] == row["fitness"]["total"]


def test_the_best_generator_is_the_one_that_scored_best(small, tmp_path):
    run_in(Directory(tmp_path), small)
    scored = {
        row["generation"]: row["score"]["energy-distance"]
        for row in rows(tmp_path)
        if "score" in row
    }
    best = min(scored, key=scored.get)
    with safetensors.safe_open(tmp_path / "generator-best.safetensors", "pt") as file:
        assert json.loads(file.metadata()["egan"])["generation"] == best


def test_tensorboard_shows_the_log(small, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run_in(Directory(tmp_path), small, on_generation=lambda state, row: state.generation >= 7)
    run_in(Directory(tmp_path), {})
    events = EventAccumulator(str(tmp_path), {"scalars": 0, "images": 0, "tensors": 0})
    events.Reload()
    tags = events.Tags()
    groups = {tag.split("/")[0] for tag in tags["scalars"]}
    assert groups == {"fitness", "selection", "environment", "score"}
    assert [event.step for event in events.Images("samples")] == [0, 4, 8, 12]
    assert [event.step for event in events.Images("interpolation")] == [12]
    assert any("configuration" in tag for tag in tags["tensors"])
    log = {row["generation"]: row for row in rows(tmp_path)}
    quality = events.Scalars("fitness/quality")
    assert [event.step for event in quality] == [2, 4, 6, 8, 10, 12]
    assert quality[-1].value == pytest.approx(log[12]["fitness"]["quality"], rel=1e-6)
    wins = events.Scalars("selection/minimax")
    mean = (log[11]["selection"]["minimax"] + log[12]["selection"]["minimax"]) / 2
    assert wins[-1].value == pytest.approx(mean)


@pytest.mark.parametrize("data", ["ring", "swiss-roll", "digits"])
def test_a_run_leaves_pictures_and_an_animation(small, tmp_path, data):
    from PIL import Image

    run_in(Directory(tmp_path), {**small, "data": data})
    frames = Directory(tmp_path).frames()
    assert [int(frame.stem) for frame in frames] == [0, 4, 8, 12]
    with Image.open(tmp_path / "final.png") as image:
        assert min(image.size) > 300
        assert len(image.convert("RGB").getcolors(maxcolors=1 << 20)) > 20
    with Image.open(tmp_path / "evolution.gif") as animation:
        assert animation.n_frames == len(frames)


CLASSES = {"game": "conditional", "networks": {"width": 16}}


@pytest.mark.parametrize(
    ("data", "more", "shown"),
    [
        ("ring", {}, {"interpolation"}),
        ("digits", {}, {"interpolation", "truncation", "neighbours"}),
        ("digits", CLASSES, {"interpolation", "truncation", "neighbours", "classes"}),
    ],
)
def test_a_run_ends_with_the_views_that_suit_it_as_they_can_be_asked_for(
    small, tmp_path, data, more, shown
):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run_in(Directory(tmp_path), {**small, "data": data, **more})
    pictures = {path.stem: path.read_bytes() for path in tmp_path.glob("*.png")}
    assert set(pictures) == {"final", *shown}
    events = EventAccumulator(str(tmp_path), {"images": 0}).Reload()
    assert set(events.Tags()["images"]) == {"samples", *shown}
    for name in shown:
        assert [event.step for event in events.Images(name)] == [12]
        assert main(["sample", str(tmp_path), "--view", name]) == 0
        assert (tmp_path / f"{name}.png").read_bytes() == pictures[name]


def test_neighbours_are_not_looked_for_where_there_are_too_few_or_too_many(
    small, tmp_path, monkeypatch
):
    few = torch.rand(6, 1, 4, 4)
    egan.evolve(few, config=small, generations=1, run=tmp_path / "few")
    monkeypatch.setattr("egan.gallery.WHOLE", 1_000)
    egan.evolve("digits", config=small, generations=1, run=tmp_path / "many")
    for run in ("few", "many"):
        assert (tmp_path / run / "truncation.png").is_file()
        assert not (tmp_path / run / "neighbours.png").exists()


def test_all_pictures_of_a_run_are_of_the_same_noise(small, tmp_path, monkeypatch):
    seen = []

    def draw(sample, data, path, title):
        seen.append(sample(5))

    monkeypatch.setattr(egan.recorder, "draw", draw)
    monkeypatch.setattr(egan.recorder.Board, "picture", lambda *arguments: None)
    monkeypatch.setattr(Generator, "generate", lambda self, noise, seed: noise)
    monkeypatch.setattr(egan.recorder, "evaluate", lambda *_, **__: {"energy-distance": 0.0})
    settings = {**small, "records": {**small["records"], "pictures": 4}}
    egan.evolve(config=settings, run=tmp_path / "r", on_generation=lambda state, row: len(seen) > 3)
    assert len(seen) == 4
    assert all(torch.equal(each, seen[0]) for each in seen)


def test_the_last_picture_is_that_of_the_whole_run(small, tmp_path):
    directory = Directory(tmp_path)
    run_in(directory, {**small, "generations": 6})
    path = directory.view("interpolation")
    short = path.read_bytes()
    run_in(directory, {"generations": 9}, on_generation=lambda state, row: state.generation >= 8)
    assert not path.exists()  # it was that of the shorter run
    run_in(directory, {})
    assert path.read_bytes() != short


@pytest.mark.parametrize("signals", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_generation_saves_and_says_how_to_go_on(reference, tmp_path, signals):
    path, settings = reference
    run = tmp_path / "run"
    process = subprocess.Popen(
        command(run, settings), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    wait_for(lambda: reached(run, 12), process)
    process.send_signal(signals)
    out, _ = process.communicate(timeout=60)
    done = int(max(run.glob("checkpoints/*.pt")).stem)
    assert process.returncode == 128 + signals
    assert out.splitlines()[-1] == (
        f"Stopped after generation {done}, saved. To go on: egan resume {run}"
    )
    run_in(Directory(run), {})
    equal_runs(path, run)


def test_a_signal_in_the_middle_of_processes_leaves_no_worker_behind(reference, tmp_path):
    _, settings = reference
    run = tmp_path / "run"
    process = subprocess.Popen(
        [*command(run, settings), "--execution.executor", "processes", "--execution.workers", "2"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True,
    )  # fmt: skip
    wait_for(lambda: reached(run, 12), process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT
    assert "To go on: egan resume" in out


def test_a_run_without_finite_children_gives_up_and_keeps_its_state(small, tmp_path):
    settings = {
        **small,
        "population": {"patience": 3},
        "variation": {"mutations": [explode, explode_too], "batch": 16},
    }
    with pytest.raises(RunError, match="no child has been finite for 3 generations"):
        run_in(Directory(tmp_path), settings)
    assert [row["barren"] for row in rows(tmp_path)] == [1, 2, 3]
    assert checkpoint.load(checkpoint.path_of(tmp_path / "checkpoints", 3))["barren"] == 3


def explode(logits):
    """A loss without a finite gradient."""
    return logits.mean() * float("inf")


def explode_too(logits):
    """Another loss without a finite gradient."""
    return logits.sum() * float("inf")


def test_a_full_disk_is_one_sentence_and_leaves_the_last_checkpoint_whole(small, tmp_path):
    run_in(Directory(tmp_path), small, on_generation=lambda state, row: state.generation >= 6)
    size = min(path.stat().st_size for path in tmp_path.glob("checkpoints/*.pt"))
    # No file may grow to the size of a checkpoint: a disk that is full, without filling one.
    result = script(
        """
        import resource, sys
        from egan.cli import main
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
        sys.exit(main(["resume", sys.argv[2]]))
        """,
        size - 100,
        tmp_path,
    )
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1] == (
        "egan: the disk is full: the last checkpoint is whole; make room, then resume the run."
    )
    assert "Traceback" not in result.stderr
    assert checkpoint.load(checkpoint.all_in(tmp_path / "checkpoints")[-1])["generation"] >= 6
    assert not list(tmp_path.rglob("*.part"))
    assert run_in(Directory(tmp_path), {}).finished


# Where the last moments of a run are spent; each is killed there once, and the run goes on.
MOMENTS = [
    ("populations.checkpoint", "save"),
    ("egan.monitor", "Log.sync"),
    ("egan.recorder", "Recorder.export"),
    ("egan.run", "_finish"),
    ("egan.run", "animate"),
    ("egan.run", "draw"),
    ("egan.run", "record_scores"),
]  # fmt: skip


@pytest.mark.parametrize("before", [0, 1], ids=["at the end", "at the end of an extension"])
@pytest.mark.parametrize("moment", MOMENTS, ids=lambda moment: moment[1])
def test_killed_at_its_very_end_and_resumed_equals_never_stopped(small, tmp_path, moment, before):
    settings = {**small, "horizon": 12}
    run_in(Directory(tmp_path / "whole"), settings)
    run = tmp_path / "run"
    if before:
        run_in(Directory(run), {**settings, "generations": 7})
    killed = script(
        """
        import importlib, json, os, sys
        from pathlib import Path
        from egan.directory import Directory
        from egan.run import run_in
        module, name, run, settings = sys.argv[1:]
        target = importlib.import_module(module)
        *owners, name = name.split(".")
        for owner in owners:
            target = getattr(target, owner)
        real, log = getattr(target, name), Path(run) / "log.jsonl"
        def dying(*arguments, **keywords):
            if name == "sync":
                arguments[0].file.flush()
            if log.exists() and '"generation": 12,' in log.read_text():
                os._exit(9)
            return real(*arguments, **keywords)
        setattr(target, name, dying)
        run_in(Directory(Path(run)), json.loads(settings))
        """,
        *moment,
        run,
        json.dumps(settings),
    )
    assert killed.returncode == 9, killed.stderr
    run_in(Directory(run), {"generations": 12})
    with safetensors.safe_open(run / "generator.safetensors", "pt") as file:
        assert json.loads(file.metadata()["egan"])["generation"] == 12
    if not before:  # an extension has drawn the end of the shorter run, too
        equal_runs(tmp_path / "whole", run)
    torch.testing.assert_close(weights(run), weights(tmp_path / "whole"), rtol=0, atol=0)
    assert run_in(Directory(run), {}).ran is False


@pytest.mark.parametrize(
    "changes",
    [
        {"population": {"mu": 2, "selection": "tournament"}},
        {"population": {"mu": 2, "selection": "random"}},
        {"population": {"mu": 2, "selection": "nsga2", "average": 0.0}},
        {
            "variation": {"moments": "mutation", "batch": 16},
            "environment": {"fakes": "judged", "batch": 16},
        },
        {"first": "environment", "fitness": {"real": "training", "samples": 16}},
        {"data": "digits", "networks": {"name": "convolutional", "width": 4}},
        {"networks": {"name": "pacgan", "width": 8}},
        {
            "environment": {
                "penalties": {"lecam": 0.3, "gradient-penalty": 0.1, "consistency": 1.0},
                "steps": 2,
                "lazy": 3,
                "clip": 0.2,
                "smoothing": 0.1,
            },
        },
        {
            "networks": {"discriminators": 2, "spectral_norm": True},
            "environment": {"noise": 0.1, "packing": 2},
        },
    ],
    ids=str,
)
def test_whatever_evolves_resumed_equals_never_stopped(small, tmp_path, changes):
    settings = egan.settings.merge(small, changes)
    run_in(Directory(tmp_path / "whole"), settings)
    for stop in (1, 6, 12):
        run_in(Directory(tmp_path / "parts"), settings,
               on_generation=lambda state, row, stop=stop: state.generation >= stop)  # fmt: skip
    equal_runs(tmp_path / "whole", tmp_path / "parts")


def test_averages_of_logits_are_in_the_checkpoint(small, tmp_path):
    settings = egan.settings.merge(small, {"environment": {"penalties": {"lecam": 0.3}}})
    run_in(Directory(tmp_path), settings, on_generation=lambda state, row: state.generation >= 6)
    saved = checkpoint.load(checkpoint.path_of(tmp_path / "checkpoints", 6))
    assert saved["environment"]["averages"][2].item() == pytest.approx(1 - 0.99**6, rel=1e-5)


def test_a_run_from_before_a_setting_and_a_part_of_the_state_existed_goes_on(small, tmp_path):
    run_in(Directory(tmp_path / "whole"), small)
    old = tmp_path / "old"
    run_in(Directory(old), small, on_generation=lambda state, row: state.generation >= 6)
    path = checkpoint.path_of(old / "checkpoints", 6)
    saved = torch.load(path, weights_only=True)
    assert saved["environment"].pop("averages") is None
    torch.save(saved, path)
    config = json.loads((old / "config.json").read_text())
    for name in ("lazy", "clip", "smoothing"):
        del config["environment"][name]
    (old / "config.json").write_text(json.dumps(config))
    told = []
    run_in(Directory(old), {}, tell=told.append)
    assert not [sentence for sentence in told if "is used instead" in sentence]
    equal_runs(tmp_path / "whole", old)


def test_a_run_that_another_process_has_just_made_is_not_overwritten(small, tmp_path, monkeypatch):
    import egan.run

    real = egan.run.locked

    def slow(directory):
        monkeypatch.setattr(egan.run, "locked", real)
        run_in(directory, {**small, "generations": 5})
        return real(directory)

    monkeypatch.setattr(egan.run, "locked", slow)
    with pytest.raises(UsageError, match="another process has just made the run"):
        run_in(Directory(tmp_path), small)
    assert len(rows(tmp_path)) == 5


def test_a_worker_that_dies_again_and_again_ends_the_run_in_one_sentence(tmp_path):
    (tmp_path / "deadly.py").write_text(
        "import os, signal\n"
        "def loss(logits):\n"
        "    if os.path.exists(os.environ['DEADLY']):\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return logits.mean()\n"
    )
    result = script(
        """
        import os, sys
        from pathlib import Path
        from egan.directory import Directory
        from egan.run import run_in
        folder = Path(sys.argv[1])
        sys.path.insert(0, str(folder))
        os.environ["DEADLY"] = str(folder / "now")
        settings = {
            "generations": 9, "population": {"mu": 2}, "networks": {"width": 8},
            "variation": {"mutations": ["deadly:loss", "heuristic"], "batch": 16},
            "execution": {"executor": "processes", "workers": 2},
        }
        def doom(state, row):
            if state.generation == 5:
                (folder / "now").touch()
        try:
            run_in(Directory(folder / "run"), settings, on_generation=doom)
        except RuntimeError as error:
            sys.exit(str(error))
        """,
        tmp_path,
    )
    assert result.returncode == 1
    assert "a worker process died twice on the same task" in result.stderr
    assert checkpoint.all_in(tmp_path / "run/checkpoints")[-1].stem.endswith("5")


def test_merit_orders_scores_and_a_short_run_has_a_best_generator_too(small, tmp_path):
    from egan.scores import scores

    assert scores["deviation-ratio"].merit(float("nan")) < scores["deviation-ratio"].merit(0.1)
    assert scores["deviation-ratio"].merit(0.9) > scores["deviation-ratio"].merit(0.5)
    assert scores["deviation-ratio"].merit(0.9) > scores["deviation-ratio"].merit(1.5)
    assert scores["modes"].merit(8) > scores["modes"].merit(7)
    assert scores["energy-distance"].merit(0.1) > scores["energy-distance"].merit(0.2)
    run_in(Directory(tmp_path), {**small, "horizon": 100, "generations": 3})
    assert egan.load(tmp_path, "best").sample(2).shape == (2, 2)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_from_python_a_signal_reaches_the_caller_after_the_run_is_saved(tmp_path, number):
    result = script(
        """
        import os, sys
        import egan
        def send(state, row):
            if state.generation == 5:
                os.kill(os.getpid(), int(sys.argv[2]))
        try:
            egan.evolve(run=sys.argv[1], generations=1000, on_generation=send)
        except KeyboardInterrupt:
            print("interrupted")
        """,
        tmp_path,
        int(number),
    )
    if number == signal.SIGINT:
        assert result.stdout == "interrupted\n", result.stderr
    else:
        assert result.returncode == -number
    assert checkpoint.all_in(tmp_path / "checkpoints")[-1].stem.endswith("5")


@pytest.mark.parametrize("changed", ["a value of each", "one more"])
def test_a_run_goes_on_with_the_data_it_began_with_alone(small, tmp_path, changed):
    values = np.random.default_rng(0).normal(size=(600, 2))
    np.save(tmp_path / "own.npy", values)
    settings, run = {**small, "data": str(tmp_path / "own.npy")}, Directory(tmp_path / "run")
    run_in(run, settings, on_generation=lambda state, row: state.generation >= 3)
    other = values * 1.001 if changed == "a value of each" else np.vstack([values, [[0, 0]]])
    np.save(tmp_path / "own.npy", other)
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    with pytest.raises(UsageError) as error:
        run_in(run, {})
    assert str(error.value) == (
        f"the data {tmp_path / 'own.npy'} have changed since the run {run.path} learned them: give "
        "what they were, or start another run from this one (--init_from)."
    )
    assert {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()} == before
    np.save(tmp_path / "own.npy", values)  # written anew, but the same
    assert run_in(run, {}).finished


def test_checkpoints_that_do_not_tell_of_their_data_go_on(small, tmp_path):
    run_in(Directory(tmp_path), small, on_generation=lambda state, row: state.generation >= 6)
    path = checkpoint.path_of(tmp_path / "checkpoints", 6)
    saved = checkpoint.load(path)
    assert saved.pop("data") == ""  # a ring is drawn afresh
    torch.save(saved, path)
    assert run_in(Directory(tmp_path), {}).finished
