"""The command line: evolve, resume, sample, score, list."""

from __future__ import annotations

import errno
import re
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from egan.arguments import parse
from populations.errors import RunError, UsageError
from populations.registry import unknown


def evolve(arguments: Namespace) -> int:
    """`egan evolve`."""
    given = arguments.clone().as_dict()
    run = given.pop("run", None)
    for name in ("config", "debug"):
        given.pop(name, None)
    if given.get("data") is None:
        given.pop("data", None)
    return _run(run or _new_run(str(given.get("data", "ring"))), given)


def resume(arguments: Namespace) -> int:
    """`egan resume`."""
    from egan.directory import Directory

    Directory(Path(arguments.run)).read_config()
    return _run(arguments.run, {})


def _run(run: str, given: dict[str, Any]) -> int:
    from egan.api import load
    from egan.directory import Directory
    from egan.findings import SAMPLES, judge, paragraph, record_scores
    from egan.run import run_in

    directory = Directory(Path(run))
    outcome = run_in(directory, given, progress=True, tell=print)
    if not outcome.ran:
        print(
            f"The run {run} is finished: {outcome.done:,} generations are done. To extend it: "
            f"egan evolve --run {run} --generations {2 * outcome.done}"
        )
        return 0
    if not outcome.finished:
        print(f"Stopped after generation {outcome.done:,}, saved. To go on: egan resume {run}")
        return 128 + (outcome.signal or signal.SIGINT)
    found = judge(load(run), outcome.world.data)
    record_scores(directory.scores, "final", SAMPLES, found)
    print(paragraph(outcome, found))
    print(f"Pictures: {directory.final_picture} and {directory.animation}")
    print(f"More: egan score {run}, egan sample {run}, tensorboard --logdir {run}")
    return 0


def _new_run(data: str) -> str:
    """A directory that does not exist yet: runs/ring-1, runs/ring-2, ..."""
    stem = re.sub(r"[^\w-]+", "-", Path(data).stem if "/" in data else data).strip("-") or "run"
    number = 1
    while (Path("runs") / f"{stem}-{number}").exists():
        number += 1
    return str(Path("runs") / f"{stem}-{number}")


def sample(arguments: Namespace) -> int:
    """`egan sample`."""
    import numpy as np
    import torch

    from egan.api import load
    from egan.data import make_data
    from egan.directory import Directory
    from egan.pictures import picture
    from populations.checkpoint import write_whole

    out = Path(arguments.out)
    if out.suffix not in (".png", ".npy", ".pt"):
        raise UsageError(f"the file {out} must end in .png, .npy or .pt.")
    _positive("number", arguments.number)
    _check_seed(arguments.seed)
    if not out.parent.is_dir():
        raise UsageError(f"the folder {out.parent} does not exist.")
    samples = load(arguments.run, arguments.which).sample(arguments.number, arguments.seed)
    if out.suffix == ".png":
        config = Directory(Path(arguments.run)).load_config()
        picture(samples, make_data(config.data, config.data_options), out)
    elif out.suffix == ".npy":
        with out.open("wb") as file:
            np.save(file, samples.numpy())
    else:
        write_whole(out, lambda part: torch.save(samples, part))
    print(f"{arguments.number} samples: {out}")
    return 0


def score(arguments: Namespace) -> int:
    """`egan score`."""
    from egan.api import load
    from egan.data import make_data
    from egan.directory import Directory
    from egan.findings import judge, record_scores, table

    if arguments.number < 2:
        raise UsageError(f"number is {arguments.number}: it must be at least 2.")
    directory = Directory(Path(arguments.run))
    generator = load(arguments.run, arguments.which)
    config = directory.load_config()
    data = make_data(config.data, config.data_options)
    found = judge(generator, data, arguments.number)
    record_scores(directory.scores, arguments.which, arguments.number, found)
    print(table(found))
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
                print(f"  {name:22}{line}")
    return 0


VERBS: dict[str, Callable[[Namespace], int]] = {
    "evolve": evolve,
    "resume": resume,
    "sample": sample,
    "score": score,
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
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    try:
        verb, namespace = parse(words)
        return VERBS[verb](namespace)
    except UsageError as error:
        return _fail(error, 2, debug)
    except RunError as error:
        return _fail(error, 1, debug)
    except OSError as error:
        return _fail(_disk(error), 1, debug)
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return 130


def _fail(error: Exception, code: int, debug: bool) -> int:
    if debug:
        raise error
    print(f"egan: {error}", file=sys.stderr)
    return code


def _disk(error: OSError) -> RunError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return RunError(
            "the disk is full: the last checkpoint is whole; make room, then resume the run."
        )
    return RunError(f"{error.strerror or error}: {error.filename or 'a file'}.")
