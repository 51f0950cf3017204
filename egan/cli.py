"""The command line: evolve, resume, sample, score, list."""

from __future__ import annotations

import errno
import re
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jsonargparse
from jsonargparse import ArgumentError, ArgumentParser, Namespace

from egan.config import Config, Names
from populations.errors import RunError, UsageError
from populations.registry import unknown

jsonargparse.set_parsing_settings(docstring_parse_attribute_docstrings=True)
jsonargparse.typing.register_type(Names, serializer=list, deserializer=Names)


class Parser(ArgumentParser):
    """A parser whose options are written with hyphens and whose errors are one sentence."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **{"exit_on_error": False, **keywords})

    def format_help(self) -> str:
        """The help text, its options hyphenated."""
        return re.sub(r"--[\w.]+", lambda found: hyphenated(found[0]), super().format_help())


def hyphenated(option: str) -> str:
    """An option as users write it."""
    return option.replace("_", "-")


def underscored(argument: str) -> str:
    """An option as the configuration names it; other arguments as they are."""
    if not argument.startswith("--"):
        return argument
    name, equals, value = argument.partition("=")
    return "--" + name[2:].replace("-", "_") + equals + value


def make_parser() -> tuple[Parser, dict[str, Parser]]:
    """The whole command line, and the parser of each verb."""
    parser = Parser(
        prog="egan",
        description="Evolve generative adversarial networks.",
        epilog="Each command explains its options: egan evolve --help.",
    )
    parser.add_argument("--version", action="version", version=f"egan {_version()}")
    commands = parser.add_subcommands(required=True, metavar="COMMAND", title="commands")
    verbs = {
        "evolve": _evolve_parser(),
        "resume": _resume_parser(),
        "sample": _sample_parser(),
        "score": _score_parser(),
        "list": _list_parser(),
    }
    for name, verb in verbs.items():
        verb.add_argument("--debug", action="store_true", help="Show tracebacks of errors.")
        commands.add_subcommand(name, verb, help=verb.description)
    return parser, verbs


def _version() -> str:
    from egan import __version__

    return __version__


def _evolve_parser() -> Parser:
    parser = Parser(description="Evolve generators on data, in a new run or an old one.")
    parser.add_argument(
        "data", nargs="?", help="Data set (`egan list`), a file, or `package.module:attribute`."
    )
    parser.add_argument(
        "--run", type=str | None, help="Directory of the run; default: a new one under runs/."
    )
    parser.add_argument("--config", action="config", help="YAML or JSON file of settings.")
    parser.add_class_arguments(Config, skip={"data"}, sub_configs=False)
    return parser


def _resume_parser() -> Parser:
    parser = Parser(description="Go on with a run exactly where it stopped.")
    parser.add_argument("run", help="Directory of the run.")
    return parser


def _sample_parser() -> Parser:
    parser = Parser(description="Draw samples from a run's generator.")
    parser.add_argument("run", help="Directory of the run.")
    parser.add_argument("-n", "--number", type=int, default=64, help="Samples.")
    parser.add_argument(
        "--out", type=str, default="samples.png", help="File: .png, .npy or .pt, by its ending."
    )
    parser.add_argument("--seed", type=int, default=0, help="Seed of the noise.")
    parser.add_argument("--which", type=str, default="final", help="Generator: final or best.")
    return parser


def _score_parser() -> Parser:
    parser = Parser(description="Judge a run's generator beside real data.")
    parser.add_argument("run", help="Directory of the run.")
    parser.add_argument("-n", "--number", type=int, default=10_000, help="Samples.")
    parser.add_argument("--which", type=str, default="final", help="Generator: final or best.")
    return parser


def _list_parser() -> Parser:
    parser = Parser(description="List everything that has a name.")
    parser.add_argument("kind", nargs="?", help="One kind, such as mutations; default: all.")
    return parser


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
    from egan.directory import Directory
    from egan.findings import SAMPLES, judge, paragraph, record_scores
    from egan.generator import Generator, load_weights
    from egan.run import run_in
    from egan.world import make_game

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
    world = outcome.world
    generator = Generator(make_game(outcome.config, world.data.shape, str(world.device)))
    load_weights(generator, directory, "final")
    found = judge(generator, world.data)
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
    from egan.config import build
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
        config = build(Config, Directory(Path(arguments.run)).read_config())
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
    from egan.config import build
    from egan.data import make_data
    from egan.directory import Directory
    from egan.findings import judge, record_scores, table

    if arguments.number < 2:
        raise UsageError(f"number is {arguments.number}: it must be at least 2.")
    directory = Directory(Path(arguments.run))
    generator = load(arguments.run, arguments.which)
    config = build(Config, directory.read_config())
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
    words = [underscored(word) for word in (sys.argv[1:] if arguments is None else arguments)]
    debug = "--debug" in words
    try:
        parser, verbs = make_parser()
        try:
            # Only what was given: everything else is the preset's or the run's.
            parsed = parser.parse_args(words, defaults=False)
        except ArgumentError as error:
            raise UsageError(_sentence(str(error), verbs)) from error
        verb = parsed.subcommand
        namespace = parsed[verb] if verb == "evolve" else _with_defaults(verbs[verb], parsed[verb])
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


def _with_defaults(parser: Parser, given: Namespace) -> Namespace:
    full = parser.get_defaults()
    full.update(given)
    return full


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


def _sentence(message: str, verbs: dict[str, Parser]) -> str:
    """An error of the command-line library as one sentence of ours."""
    text = " ".join(message.split())
    found = re.match(r"unrecognized arguments: (--\S+)", text)
    if found:
        option = hyphenated(found[1].partition("=")[0])
        options = {
            hyphenated(each)
            for verb in verbs.values()
            for action in verb._actions
            for each in action.option_strings
            if each.startswith("--")
        }
        return _nearest("option", option, options)
    found = re.match(r'Parser key "([\w.]+)": Expected a (.+)\. Got value: (.*)$', text)
    if found:
        return f"{found[1]} is {found[3]!r}: it must be {_type_words(found[2])}."
    found = re.search(r"does not accept option '([\w.]+)'", text)
    if found:
        return (
            f"unknown setting {found[1]!r} in the configuration file: egan evolve --help lists all."
        )
    found = re.search(r"invalid choice: '(\w+)'", text)
    if found:
        return unknown("command", found[1], verbs)
    if text.startswith('expected "subcommand"'):
        return f"name a command: {', '.join(verbs)}; egan --help explains them."
    return re.sub(r'^Parser key "([\w.]+)":', r"\1:", text).rstrip(".") + "."


def _nearest(kind: str, name: str, valid: set[str]) -> str:
    import difflib

    close = difflib.get_close_matches(name, valid, n=1)
    hint = f"did you mean {close[0]}?" if close else "egan COMMAND --help lists all."
    return f"unknown {kind} {name}: {hint}"


def _type_words(kind: str) -> str:
    words = {
        "int": "a whole number",
        "float": "a finite number",
        "str": "a text",
        "bool": "true or false",
    }
    simple = re.match(r"<class '(\w+)'>", kind)
    if simple:
        return words.get(simple[1], simple[1])
    choices = re.match(r"typing\.Literal\[(.+)\]", kind)
    return " or ".join(choices[1].split(", ")) if choices else kind
