"""The command line: evolve, resume, sample, export, score, compare, report, list."""

from __future__ import annotations

import errno
import io
import os
import re
import shutil
import sys
import textwrap
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from egan.arguments import given_settings, parse
from populations.errors import RunError, UsageError
from populations.registry import describe_error, unknown


def evolve(arguments: Namespace) -> int:
    """`egan evolve`."""
    given = given_settings(arguments)
    return _run(arguments.get("run") or _new_run(str(given.get("data", "ring"))), given)


def resume(arguments: Namespace) -> int:
    """`egan resume`."""
    from egan.directory import Directory

    Directory(Path(arguments.run)).read_config()
    more = arguments.get("generations")
    return _run(arguments.run, {} if more is None else {"generations": more})


def _run(run: str, given: dict[str, Any]) -> int:
    from egan.directory import Directory
    from egan.findings import paragraph
    from egan.run import run_in

    directory = Directory(Path(run))
    outcome = run_in(directory, given, progress=True, tell=print)
    if not outcome.finished:
        print(f"Stopped after generation {outcome.done:,}, saved. To go on: egan resume {run}")
        if outcome.signal is None:  # it has collapsed
            print(f"The best generator before the collapse: egan sample {run} --which refuge")
            return 1
        return 128 + outcome.signal
    if not outcome.ran:
        print(
            f"The run {run} is finished: {outcome.done:,} generations are done. To extend it: "
            f"egan resume {run} --generations {2 * outcome.done}"
        )
    print(_wrapped(paragraph(directory, outcome.world.data)))
    print(f"Pictures: {directory.final_picture} and {directory.animation}")
    print(f"More: egan score {run}, egan sample {run}, tensorboard --logdir {run}")
    return 0


def _wrapped(text: str) -> str:
    """Text in the width of the terminal; one line where there is none."""
    if not sys.stdout.isatty():
        return text
    return textwrap.fill(text, width=max(40, shutil.get_terminal_size().columns))


def _new_run(data: str) -> str:
    """A directory that does not exist yet: runs/ring-1, runs/ring-2, ..."""
    name = Path(data).name if "/" in data else data
    return _new_directory("runs", re.sub(r"[^\w-]+", "-", name.split(".")[0]).strip("-") or "run")


def _new_directory(parent: str, stem: str) -> str:
    """The first of `parent/stem-1`, `parent/stem-2`, ... that does not exist yet."""
    number = 1
    while (Path(parent) / f"{stem}-{number}").exists():
        number += 1
    return str(Path(parent) / f"{stem}-{number}")


def sample(arguments: Namespace) -> int:
    """`egan sample`."""
    from egan.api import load
    from egan.data import make_data
    from egan.directory import Directory, output_file
    from egan.gallery import show, view_of
    from egan.generator import exported

    directory, which = Directory(Path(arguments.run)), arguments.which
    default = directory.view("samples" if arguments.view == "grid" else arguments.view)
    out = output_file(arguments.get("out"), default, (".png", ".npy", ".pt"))
    given = {name: arguments.get(name) for name in VIEWING if arguments.get(name) is not None}
    _positive("number", given.get("number", 1))
    _check_seed(arguments.seed)
    view = view_of(arguments.view, given)
    config, generator = directory.load_config(), load(arguments.run, which)
    shape = exported(directory, which).shape
    if view.reads_data:
        data = make_data(config.data, config.data_options)
        given |= {"data": data, "features": config.records.features}
    shown = show(view, generator, shape, arguments.seed, given)
    if out.suffix.lower() == ".png":
        view.draw(shown, make_data(config.data, config.data_options), out)
    else:
        _write_tensor(shown.samples, out)
    counts = map(str, shown.samples.shape[: -len(shape)])
    print(f"{' x '.join(counts)} samples: {out}")
    return 0


VIEWING = "number", "truncation", "interpolation", "steps", "label"


def _write_tensor(samples: Any, out: Path) -> None:
    """Write samples as .npy or .pt, whole or not at all."""
    import numpy as np
    import torch

    from populations.checkpoint import write_whole

    content = io.BytesIO()
    if out.suffix.lower() == ".npy":
        np.save(content, samples.numpy())
    else:
        torch.save(samples, content)
    write_whole(out, lambda part: part.write_bytes(content.getbuffer()))


def export(arguments: Namespace) -> int:
    """`egan export`."""
    from egan.api import export as write

    form, out = arguments.get("format"), arguments.get("out")
    print(f"Generator: {write(arguments.run, form, out, arguments.which)}")
    return 0


def score(arguments: Namespace) -> int:
    """`egan score`."""
    from egan.api import load
    from egan.data import make_data
    from egan.directory import Directory
    from egan.findings import grounds, judge, record_scores, table

    number = arguments.get("number")
    if number is not None and number < 2:
        raise UsageError(f"number is {number}: it must be at least 2.")
    directory = Directory(Path(arguments.run))
    generator = load(arguments.run, arguments.which)
    config = directory.load_config()
    data = make_data(config.data, config.data_options)
    count = number or config.records.final_samples
    distance = arguments.get("distance") or config.records.distance
    found = judge({arguments.which: generator}, data, count, config.records.features, distance)
    record_scores(directory, found, data, count)
    print(table(found[arguments.which]))
    print(grounds(data, count, config.records.features))
    return 0


def compare(arguments: Namespace) -> int:
    """`egan compare`."""
    from egan.study.compare import compare as run_study
    from egan.study.plan import Asked

    own = "budget", "looks", "primary", "samples", "protocol", "data_dir"
    beside = (*own, "data", "arms", "seeds", "first_seed", "out", "jobs", "debug")
    asked = Asked(
        data=arguments.get("data") or None,
        arms=arguments.get("arms") or None,
        **{name: arguments.get(name) for name in own},
        seeds=_seeds(arguments),
        common=given_settings(arguments, beside) or None,
    )
    out, jobs = arguments.get("out") or _new_directory("studies", "study"), arguments.get("jobs")
    if jobs and jobs < 0:
        raise UsageError(f"jobs is {jobs}: it must be at least 0.")
    try:
        found = run_study(Path(out), asked, jobs=jobs or 0, progress=True, tell=print)
    except KeyboardInterrupt:
        begun = (Path(out) / "study.json").is_file()
        print(
            f"\nStopped; finished runs are kept. To go on: egan compare --out {out}"
            if begun
            else "\nStopped before anything ran."
        )
        return 130
    print(f"\n{found.table()}\n\nStudy: {out}")
    return 0


def _seeds(arguments: Namespace) -> range | None:
    """The seeds that were asked for."""
    from egan.study.protocols import protocol_of

    protocol = arguments.get("protocol")
    count, first = arguments.get("seeds"), arguments.get("first_seed") or 0
    _check_seed(first)
    if count is None and first:
        count = protocol_of(protocol).seeds if protocol else 5
    if count is None:
        return None
    _positive("seeds", count)
    return range(first, first + count)


def report(arguments: Namespace) -> int:
    """`egan report`."""
    path = Path(arguments.path)
    if (path / "study.json").is_file():
        from egan.study.compare import report as write_study

        print(f"{write_study(path, tell=print).table()}\n\nStudy: {path}")
        return 0
    from egan.directory import Directory
    from egan.report import write_report

    print(f"Report: {write_report(Directory(path))}")
    return 0


def list_names(arguments: Namespace) -> int:
    """`egan list`."""
    from egan.catalogue import catalogue

    kinds = catalogue()
    if arguments.kind and arguments.kind not in kinds:
        raise UsageError(unknown("kind", arguments.kind, kinds))
    for kind, entries in kinds.items():
        if arguments.kind in (None, kind):
            print(kind)
            for name, line in entries.items():
                print(f"  {name:28}{line}")
    return 0


VERBS: dict[str, Callable[[Namespace], int]] = {
    "evolve": evolve,
    "resume": resume,
    "sample": sample,
    "export": export,
    "score": score,
    "compare": compare,
    "report": report,
    "list": list_names,
}


def _positive(name: str, value: int) -> None:
    if value < 1:
        raise UsageError(f"{name} is {value}: it must be at least 1.")


def _check_seed(value: int) -> None:
    if value < 0:
        raise UsageError(f"seed is {value}: it must be at least 0.")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 0 is success, 2 a wrong request, 1 a run that could not go on."""
    threading.excepthook = _quiet_disk
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    try:
        verb, namespace = parse([word for word in words if word != "--debug"])
        return VERBS[verb](namespace)
    except BrokenPipeError:  # whoever read our output has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return 130
    except Exception as error:
        if debug:
            raise
        sentence, code = _explain(error)
        print(f"egan: {sentence}", file=sys.stderr)
        return code


def _quiet_disk(arguments: threading.ExceptHookArgs) -> None:
    """Leave it to the main thread to say that the disk is full, when TensorBoard's meets it too."""
    if not isinstance(arguments.exc_value, OSError):
        threading.__excepthook__(arguments)


def _explain(error: Exception) -> tuple[str, int]:
    """One sentence and an exit code."""
    if isinstance(error, UsageError):
        return str(error), 2
    if isinstance(error, RunError):
        return str(error), 1
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return (
            "the disk is full: the last checkpoint is whole; make room, then resume the run.",
            1,
        )
    if isinstance(error, OSError):
        return f"{error.strerror or error}: {error.filename or 'a file'}.", 1
    return f"unexpected {describe_error(error)}: --debug shows where.", 1
