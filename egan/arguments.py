"""The command line as a parser: it is made from the configuration's tree of dataclasses."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jsonargparse
import yaml
from jsonargparse import ArgumentError, ArgumentParser, Namespace

from egan.config import Config
from egan.settings import Names, merge
from populations.errors import UsageError
from populations.registry import unknown

jsonargparse.set_parsing_settings(docstring_parse_attribute_docstrings=True)
jsonargparse.typing.register_type(Names, serializer=list, deserializer=Names)


WHICH = (
    "Generator: final, best (by records.judge), refuge (the best by coverage of the data, before a "
    "collapse) or mixture."
)
DATA_DIR = "Folder with pictures, or with files train.parquet and test.parquet"
NOT_COMMON = {"data", "data_options", "seed", "generations", "horizon", "init_from", "records"}
"""Settings that are not the same for all arms of a study, or that a study has its own way for."""
PENALTY = "--environment.penalties."  # what follows is a penalty's name


class Parser(ArgumentParser):
    """A parser whose options are written with hyphens and whose errors are one sentence."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        ours = {"exit_on_error": False, "print_config": None, "allow_abbrev": False}
        super().__init__(*arguments, **{**ours, **keywords})

    def format_help(self, formatter: Any = None) -> str:
        """The help text, its options hyphenated."""
        text = re.sub(r"<class\s+'Names'>", "names", super().format_help(formatter))
        return re.sub(r"--[\w.]+", lambda found: hyphenated(found[0]), text)


def hyphenated(option: str) -> str:
    """An option as users write it."""
    return option.replace("_", "-")


def underscored(argument: str) -> str:
    """An option as the configuration names it; other arguments and names of penalties stay."""
    if not argument.startswith("--") or argument.startswith(PENALTY):
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
        "export": _export_parser(),
        "score": _score_parser(),
        "compare": _compare_parser(),
        "report": _report_parser(),
        "list": _list_parser(),
    }
    for name, verb in verbs.items():
        verb.add_argument("--debug", action="store_true", help="Show tracebacks of errors.")
        commands.add_subcommand(name, verb, help=str(verb.description).partition(". ")[0])
    return parser, verbs


def _version() -> str:
    from egan import __version__

    return __version__


def _evolve_parser() -> Parser:
    parser = Parser(
        description="Evolve generators on data, in a new run or an old one. The defaults below are "
        "those of the preset `default` on points; other presets and some data sets lay their own "
        "over them, and a run's config.json has all that it used.",
        usage="egan evolve [DATA] [--run RUN] [--config CONFIG] [--SETTING VALUE ...]",
    )
    parser.add_argument(
        "data",
        nargs="?",
        help="Data set (`egan list`; ring unless told), a file (.npy, .npz, .pt, .csv), or "
        "`package.module:attribute`.",
    )
    parser.add_argument(
        "--run", type=str | None, help="Directory of the run; default: a new one under runs/."
    )
    parser.add_argument("--data_dir", type=str | None, help=f"{DATA_DIR}.")
    parser.add_argument(
        "--config",
        type=str,
        action="append",
        help="YAML or JSON file of settings, under those given as options; again for more files.",
    )
    parser.add_class_arguments(Config, skip={"data"}, sub_configs=False)
    return parser


def _resume_parser() -> Parser:
    parser = Parser(
        description="Go on with a run exactly where it stopped.",
        usage="egan resume RUN [--generations N]",
    )
    parser.add_argument("run", help="Directory of the run.")
    parser.add_argument(
        "--generations", type=int | None, help="A larger number of generations, to extend the run."
    )
    return parser


def _sample_parser() -> Parser:
    parser = Parser(
        description="Draw samples from a run's generator: a grid, paths between pairs of noises, "
        "the same noises at falling truncation or in every class, or the training images nearest "
        "to samples.",
        usage="egan sample RUN [--view grid|interpolation|truncation|classes|neighbours] "
        "[-n NUMBER] [--out FILE] [--seed SEED] [--which final|best|refuge|mixture]",
    )
    parser.add_argument("run", help="Directory of the run.")
    parser.add_argument(
        "--view",
        type=str,
        default="grid",
        help="grid, interpolation (a row for each pair of noises), truncation (a row for each of "
        "1, 0.8, 0.6, 0.4, 0.2, and for normal noise as it is), classes (a row for each, of a "
        "conditional game) or neighbours (a row for each sample: the nearest training images, by "
        "features).",
    )
    parser.add_argument(
        "-n",
        "--number",
        type=int | None,
        help="Samples (64; 8 with neighbours), pairs (8; 6 of points) or noises (10; 500 of "
        "points), by the view.",
    )
    parser.add_argument(
        "--out",
        type=str | None,
        help="File: .png, .npy or .pt, by its ending; default: samples.png, or a .png of the "
        "view's name, in the run. The latter two kinds hold one array, (number, ...), or (rows, "
        "columns, ...), where ... is the shape of a sample.",
    )
    parser.add_argument("--seed", type=int, default=0, help="Seed of the noise.")
    parser.add_argument(
        "--truncation",
        type=float | None,
        help="Largest absolute value of the noise, above 0 (truncation trick), in a grid or at the "
        "ends of an interpolation; default: none.",
    )
    parser.add_argument(
        "--interpolation",
        type=str | None,
        help="linear or spherical; default: linear between uniform noises, spherical between "
        "normal ones.",
    )
    parser.add_argument(
        "--steps",
        type=int | None,
        help="Samples on the path of a pair, its ends among them (9; 65 of points), or neighbours "
        "of a sample (7).",
    )
    parser.add_argument(
        "--label",
        type=int | None,
        help="Class of all samples, from 0 on, of a conditional game; default: of each as many.",
    )
    parser.add_argument("--which", type=str, default="final", help=WHICH)
    return parser


def _export_parser() -> Parser:
    parser = Parser(
        description="Write a run's generator to a file that needs nothing of this project. Its "
        "metadata say which noise it takes and which samples it makes. ONNX needs the extra "
        "`images` (pip install 'egan[images]').",
        usage="egan export RUN [--format safetensors|onnx|torch-export] [--out FILE] "
        "[--which final|best|refuge|mixture]",
    )
    parser.add_argument("run", help="Directory of the run.")
    parser.add_argument(
        "--format",
        type=str | None,
        help="safetensors (a plain state dict), onnx or torch-export (a program for "
        "torch.export.load); default: by the file's ending, else safetensors.",
    )
    parser.add_argument(
        "--out",
        type=str | None,
        help="File: .safetensors, .onnx or .pt2; default: export-WHICH in the run.",
    )
    parser.add_argument("--which", type=str, default="final", help=WHICH)
    return parser


def _score_parser() -> Parser:
    parser = Parser(
        description="Judge a run's generator beside real data.",
        usage="egan score RUN [-n NUMBER] [--which final|best|refuge|mixture] [--distance lpips]",
    )
    parser.add_argument("run", help="Directory of the run.")
    parser.add_argument(
        "-n",
        "--number",
        type=int | None,
        help="Samples; default: as many as at the run's end (records.final_samples).",
    )
    parser.add_argument("--which", type=str, default="final", help=WHICH)
    parser.add_argument(
        "--distance",
        type=str | None,
        help="Distance of pairs of images by which their diversity is judged too (`egan list`); "
        "default: the run's (records.distance).",
    )
    return parser


def _compare_parser() -> Parser:
    parser = Parser(
        description="Compare methods on data sets at equal compute, over many seeds, in a new "
        "study or an old one, whose finished runs are not run again.",
        usage="egan compare [DATA ...] [--arms ARM ...] [--seeds N] [--budget KIND=AMOUNT] "
        "[--out DIR] [--SETTING VALUE ...]",
    )
    parser.add_argument(
        "data",
        nargs="*",
        help="Data sets (`egan list`) or files; `'random[modes=12,24]'` is two of them.",
    )
    parser.add_argument(
        "--arms",
        nargs="+",
        help="Methods (`egan list arms`), presets or files of settings; `'egan[gamma=0,1]'` is two "
        "of them. The others are tested against the first.",
    )
    parser.add_argument(
        "--protocol",
        type=str | None,
        help="A published experiment (`egan list protocols`): its data, arms, settings, length and "
        "number of seeds, where nothing else is said.",
    )
    parser.add_argument(
        "--data_dir", type=str | None, help=f"{DATA_DIR}, for the data sets that need one."
    )
    parser.add_argument("--seeds", type=int | None, help="How many (5 unless told).")
    parser.add_argument("--first_seed", type=int, default=0, help="The first of them.")
    parser.add_argument(
        "--budget",
        type=str | None,
        help="Of every run: generations=N, generator-steps=N, flops=N (counted), cpu-seconds=N or "
        "seconds=N; or KIND=ARM:N, what that arm takes for N generations; unless told flops of "
        "2,000 generations of the first arm. The last two become generations by a trial.",
    )
    parser.add_argument(
        "--out", type=str | None, help="Directory of the study; default: a new one under studies/."
    )
    parser.add_argument("--looks", type=int | None, help="Times that a run is judged (20).")
    parser.add_argument("--primary", type=str | None, help="The score that is compared.")
    parser.add_argument(
        "--samples", type=int | None, help="Samples on which final scores are taken."
    )
    parser.add_argument("--jobs", type=int, default=0, help="Processes; 0: one a processor core.")
    parser.add_argument(
        "--config",
        type=str,
        action="append",
        help="YAML or JSON file of settings of all arms, under those given as options.",
    )
    parser.add_class_arguments(Config, skip=NOT_COMMON, sub_configs=False)
    return parser


def _report_parser() -> Parser:
    parser = Parser(
        description="Show a run on one page, report.html in its directory; or write a study's "
        "table, figures and page again, from the runs that are finished. Any browser opens the "
        "pages, without a network. They need the extra `report` (pip install 'egan[report]').",
        usage="egan report RUN|STUDY",
    )
    parser.add_argument("path", help="Directory of the run or the study, finished or not.")
    return parser


def _list_parser() -> Parser:
    parser = Parser(description="List everything that has a name.", usage="egan list [KIND]")
    parser.add_argument("kind", nargs="?", help="One kind, such as mutations; default: all.")
    return parser


def parse(arguments: Sequence[str]) -> tuple[str, Namespace]:
    """The verb and its arguments; of those with settings only what was given.

    Raises:
        UsageError: the arguments are not of the command line's form, or a value is of a wrong type.
    """
    parser, verbs = make_parser()
    try:
        parsed = parser.parse_args([underscored(each) for each in arguments], defaults=False)
    except ArgumentError as error:
        own = {verb: verbs[verb] for verb in arguments[:1] if verb in verbs}
        raise UsageError(_sentence(str(error), own or verbs)) from error
    verb = parsed.subcommand
    if verb in ("evolve", "compare"):
        return verb, parsed[verb]
    full = verbs[verb].get_defaults()
    full.update(parsed[verb])
    return verb, full


def given_settings(
    arguments: Namespace, beside: Sequence[str] = ("run", "debug")
) -> dict[str, Any]:
    """The settings that a command was given: those of files, and over them those of options.

    Args:
        arguments: of the command line.
        beside: those that are no settings.

    Raises:
        UsageError: a file is missing or holds no settings.
    """
    options = arguments.clone().as_dict()
    files = options.pop("config", None) or []
    for name in beside:
        options.pop(name, None)
    folder = options.pop("data_dir", None)
    if options.get("data") is None:
        options.pop("data", None)
    data = {} if folder is None else {"data_options": {"data_dir": folder}}
    return merge(*(read_settings(Path(path)) for path in files), options, data)


def read_settings(path: Path) -> dict[str, Any]:
    """The settings that a YAML or JSON file holds.

    Raises:
        UsageError: it is missing or holds no settings.
    """
    if not path.is_file():
        raise UsageError(f"the configuration file {path} does not exist.")
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise UsageError(f"the configuration file {path} cannot be read: {reason}.") from error
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        raise UsageError(f"the configuration file {path} must map names of settings to values.")
    return found


def _sentence(message: str, verbs: dict[str, Parser]) -> str:
    """An error of the command-line library as one sentence of ours."""
    text = " ".join(message.split())
    for pattern, write in _SENTENCES.items():
        found = re.search(pattern, text)
        if found:
            return write(found, verbs)
    return re.sub(r'^Parser key "([\w.]+)":', r"\1:", text).rstrip(".") + "."


def _unknown_option(found: re.Match[str], verbs: dict[str, Parser]) -> str:
    option = hyphenated(found[1])
    options = {
        hyphenated(each)
        for verb in verbs.values()
        for action in verb._actions
        for each in action.option_strings
        if each.startswith("--")
    }
    leaves = sorted(each for each in options if each.endswith(f".{option[2:]}"))
    close = leaves or difflib.get_close_matches(option, options, n=1)
    hint = f"did you mean {' or '.join(close)}?" if close else "egan COMMAND --help lists all."
    return f"unknown option {option}: {hint}"


def _wrong_type(found: re.Match[str], verbs: dict[str, Parser]) -> str:
    kind = found[2]
    for pattern, words in _TYPES.items():
        kind = re.sub(pattern, words, kind)
    return f"{found[1]} is {found[3]!r}: it must be {kind.replace(', ', ' or ')}."


_TYPES = {
    r"<class 'int'>": "a whole number",
    r"<class 'float'>": "a finite number",
    r"<class 'str'>": "a text",
    r"<class 'bool'>": "true or false",
    r"<class 'dict'>": "a mapping of names to values",
    r"typing\.Literal\[(.+)\]": r"\1",
}

_SENTENCES: dict[str, Callable[[re.Match[str], dict[str, Parser]], str]] = {
    r"^unrecognized arguments: (--[^\s=]+)": _unknown_option,
    r"^unrecognized arguments: (\S+)": lambda found, verbs: (
        f"unexpected argument {found[1]!r}: egan COMMAND --help lists all."
    ),
    r'^Parser key "([\w.]+)": Expected a (.+)\. Got value: (.*)$': _wrong_type,
    r'^Parser key "([\w.]+)": Does .* Errors: - Expected a (.+) - Expected .* value: (.*)$': (
        _wrong_type  # what may also be left out
    ),
    r"invalid choice: '(.+?)'": lambda found, verbs: unknown("command", found[1], verbs),
    r"arguments are required: (?:\w+\.)?(\w+)": lambda found, verbs: (
        f"the argument {found[1].upper()} is missing: egan COMMAND --help explains it."
    ),
    r'^expected "subcommand"': lambda found, verbs: (
        f"name a command: {', '.join(verbs)}; egan --help explains them."
    ),
}
