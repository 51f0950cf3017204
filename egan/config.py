"""The configuration: one tree of frozen dataclasses. The command line is made from it.

Every value is checked when a settings object is made, wherever it came from (Python, a file, the
command line); names of plug-ins are checked where they are looked up.
"""

from __future__ import annotations

import dataclasses
import math
import operator
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, TypeVar

from populations.errors import UsageError
from populations.registry import spell, unknown


class Names(tuple[Any, ...]):
    """Names of plug-ins; also made from a comma-separated string."""

    def __new__(cls, names: Any = ()) -> Names:
        """Make a tuple of a string, a list or any other sequence."""
        if isinstance(names, str):
            names = [part.strip() for part in names.split(",") if part.strip()]
        return super().__new__(cls, names)


def setting(
    default: Any,
    low: float | None = None,
    above: float | None = None,
    high: float | None = None,
    below: float | None = None,
) -> Any:
    """A field with a range: `low` and `high` belong to it, `above` and `below` do not."""
    limits = {"low": low, "above": above, "high": high, "below": below}
    if isinstance(default, dict):
        return field(default_factory=lambda: dict(default), metadata=limits)
    return field(default=default, metadata=limits)


@dataclass(frozen=True)
class Settings:
    """A group of settings whose types and ranges are checked when it is made."""

    prefix: ClassVar[str] = ""

    def __init_subclass__(cls, group: str = "") -> None:
        cls.prefix = f"{group}." if group else ""

    def __post_init__(self) -> None:
        hints = typing.get_type_hints(type(self))
        for item in dataclasses.fields(self):
            name = self.prefix + item.name
            value = check(name, getattr(self, item.name), hints[item.name], item.metadata)
            object.__setattr__(self, item.name, value)


@dataclass(frozen=True)
class Networks(Settings, group="networks"):
    """The pair of networks and the noise."""

    name: str = "mlp"
    """A registered pair (`egan list`), or `package.module:attribute` that builds one."""
    width: int | None = setting(None, low=1)
    """Hidden units of a layer (MLP) or base channels (convolutions); default: the pair's own."""
    depth: int | None = setting(None, low=1)
    """Hidden layers (MLP); default: the pair's own."""
    generator: str | None = None
    """A generator of your own instead of the pair's: `package.module:attribute`, a module or a
    function of no arguments that makes one."""
    discriminator: str | None = None
    """A discriminator of your own instead of the pair's, named likewise."""
    noise: Literal["normal", "uniform"] = "normal"
    """Distribution of the noise: N(0, 1) or U(-1, 1) in each dimension."""
    noise_dimension: int = setting(8, low=1)
    """Dimensions of the noise."""
    initial_deviation: float | None = setting(None, above=0)
    """Standard deviation of normally distributed initial weights; default: PyTorch's own rule."""


@dataclass(frozen=True)
class Population(Settings, group="population"):
    """The population and who survives in it."""

    mu: int = setting(1, low=1)
    """Parents; each has one child per mutation in every generation."""
    selection: str = "best"
    """How survivors are chosen among the children (`egan list`)."""
    initial: Literal["independent", "identical"] = "independent"
    """Whether the first parents are initialised each for itself or as copies of one."""
    average: float = setting(0.999, low=0, below=1)
    """Decay of the running average of weights along a lineage, per generation; 0: no average.
    The average is what is sampled, scored and exported."""
    patience: int = setting(10, low=1)
    """Generations in a row without a finite child after which a run gives up."""


@dataclass(frozen=True)
class Variation(Settings, group="variation"):
    """How children are made: one optimiser step (Adam) on one loss each."""

    mutations: Names = Names(("minimax", "heuristic", "least-squares"))
    """Losses, one child each, separated by commas (`egan list`)."""
    batch: int = setting(128, low=1)
    """Noise samples per step."""
    lr: float = setting(8e-3, above=0)
    """Learning rate."""
    beta1: float = setting(0.5, low=0, below=1)
    """Adam's decay of the gradient's mean."""
    beta2: float = setting(0.9, low=0, below=1)
    """Adam's decay of the gradient's square."""
    moments: Literal["inherited", "mutation"] = "inherited"
    """Adam's moments: a child inherits its parent's, or every mutation has its own that advance
    with each of its children, selected or not (as released for Theano)."""


@dataclass(frozen=True)
class Judging(Settings, group="fitness"):
    """The fitness of children: quality + gamma * diversity."""

    gamma: float = setting(0.01, low=0)
    """Weight of diversity; 0: diversity is not computed."""
    quality: str = "probability"
    """How quality reads the discriminator's logits (`egan list`)."""
    samples: int = setting(64, low=1)
    """Samples of each child, and as many real ones, that are judged."""
    shared_noise: bool = True
    """Whether all children of a generation are judged on the same noise (the paper: no)."""
    real: Literal["own", "training"] = "own"
    """Real samples for judging: a batch of their own, or the one the discriminator trains on
    next."""


@dataclass(frozen=True)
class Environment(Settings, group="environment"):
    """The discriminator: its objective and its steps (Adam)."""

    objective: str = "minimax"
    """What the discriminator minimises (`egan list`); diversity is the flatness of the same."""
    steps: int = setting(1, low=1)
    """Steps per generation."""
    batch: int = setting(128, low=1)
    """Real samples per step, and as many fakes, in equal parts from all parents."""
    fakes: Literal["fresh", "judged"] = "fresh"
    """Fakes from fresh noise, or those on which the survivors were judged."""
    lr: float = setting(8e-3, above=0)
    """Learning rate."""
    beta1: float = setting(0.5, low=0, below=1)
    """Adam's decay of the gradient's mean."""
    beta2: float = setting(0.9, low=0, below=1)
    """Adam's decay of the gradient's square."""
    penalties: dict[str, float] = setting({"r1": 0.05, "r2": 0.05}, low=0)
    """Weights of penalties by name (`egan list`); 0: none."""


@dataclass(frozen=True)
class Execution(Settings, group="execution"):
    """Where children are bred. None of it but threads and device changes a result."""

    executor: str = "serial"
    """`serial`, or `processes` (joblib)."""
    workers: int = setting(0, low=0)
    """Worker processes; 0: one a processor core."""
    threads: int = setting(1, low=1)
    """Threads of PyTorch in every process."""
    device: str = "cpu"
    """PyTorch device: `cpu`, `cuda`, `cuda:1`, ...; `auto`: a GPU where there is one."""


@dataclass(frozen=True)
class Records(Settings, group="records"):
    """What is written while a run lasts, how often (in generations)."""

    checkpoint_every: int = setting(500, low=1)
    """Generations between checkpoints."""
    score_every: int = setting(250, low=1)
    """Generations between scores; the best generator so far is kept at each."""
    score_samples: int = setting(1000, low=2)
    """Samples that are scored."""
    judge: str = "energy-distance"
    """The score by which the best generator is chosen (`egan list`)."""
    pictures: int = setting(40, low=1)
    """Pictures in the animation of a run, spread evenly over its generations."""
    tensorboard_every: int = setting(10, low=1)
    """Generations between TensorBoard's scalars."""


@dataclass(frozen=True)
class Config(Settings):
    """The configuration of a run."""

    data: str = "ring"
    """Data set (`egan list`), a file (.npy, .npz, .pt, .csv), or `package.module:attribute`."""
    data_options: dict[str, Any] = field(default_factory=dict)
    """Options of the data set by name, such as `modes` of `random`."""
    preset: str = "default"
    """The settings that these were made from (`egan list`)."""
    seed: int = setting(0, low=0)
    """Seed of everything random."""
    generations: int = setting(5_000, low=1)
    """Generations in all; a larger number extends a finished run."""
    horizon: int = setting(0, low=0)
    """Generation at which the learning rates have fallen; 0: `generations` at the run's start."""
    lr_final: float = setting(0.05, low=0, high=1)
    """Share of the learning rates that is left at the horizon (linear fall); 1: they stay."""
    first: Literal["generators", "environment"] = "generators"
    """Who goes first in a generation (the paper: the environment)."""
    game: str = "unconditional"
    """What generators make and what the discriminator is shown (`egan list`)."""
    init_from: str | None = None
    """A run whose individuals and discriminator start this one."""
    networks: Networks = field(default_factory=Networks)
    """The pair of networks and the noise."""
    population: Population = field(default_factory=Population)
    """The population and who survives in it."""
    variation: Variation = field(default_factory=Variation)
    """How children are made."""
    fitness: Judging = field(default_factory=Judging)
    """The fitness of children."""
    environment: Environment = field(default_factory=Environment)
    """The discriminator: its objective and its steps."""
    execution: Execution = field(default_factory=Execution)
    """Where children are bred."""
    records: Records = field(default_factory=Records)
    """What is written while a run lasts."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.horizon:
            object.__setattr__(self, "horizon", self.generations)
        self._check_combinations()

    def _check_combinations(self) -> None:
        if not self.variation.mutations:
            raise UsageError("variation.mutations is empty: name at least one loss.")
        if self.environment.batch % self.population.mu:
            raise UsageError(
                f"environment.batch is {self.environment.batch}: it must be a multiple of "
                f"population.mu ({self.population.mu}), since every parent gives an equal part."
            )
        if self.environment.fakes == "judged":
            self._check_judged_fakes()

    def _check_judged_fakes(self) -> None:
        wanted = self.environment.batch * self.environment.steps // self.population.mu
        if self.first != "generators":
            raise UsageError("environment.fakes is 'judged': it needs first = 'generators'.")
        if wanted > self.fitness.samples:
            raise UsageError(
                f"environment.fakes is 'judged': the discriminator reads {wanted} samples of each "
                f"survivor, and fitness.samples is only {self.fitness.samples}."
            )


ADJUSTABLE = ("generations", "execution.executor", "execution.workers")
"""Settings that may change when a run goes on: none of them changes a generation's result."""

_KINDS = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}


def check(name: str, value: Any, hint: Any, limits: Mapping[str, Any]) -> Any:
    """The value as its field wants it.

    Raises:
        UsageError: its type or range is wrong; the message says what would be right.
    """
    if isinstance(hint, types.UnionType):
        hint = next(part for part in typing.get_args(hint) if part is not type(None))
        return value if value is None else check(name, value, hint, limits)
    if hint is int or hint is float or hint is str or hint is bool:
        return _check_scalar(name, value, hint, limits)
    if typing.get_origin(hint) is Literal:
        return _check_choice(name, value, typing.get_args(hint))
    if typing.get_origin(hint) is dict:
        return _check_mapping(name, value, typing.get_args(hint)[1], limits)
    if hint is Names:
        return _check_names(name, value)
    return _check_group(name, value, hint)


def _check_scalar(name: str, value: Any, hint: Any, limits: Mapping[str, Any]) -> Any:
    if hint is str and callable(value):  # a plug-in in the place of its name
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise UsageError(f"{name} is {value!r}: it must be {_KINDS[hint]}.")
    return _check_range(name, value, limits) if hint in (int, float) else value


def _check_choice(name: str, value: Any, choices: tuple[Any, ...]) -> Any:
    if value not in choices:
        raise UsageError(f"{name} is {value!r}: it must be {' or '.join(map(repr, choices))}.")
    return value


def _check_mapping(name: str, value: Any, hint: Any, limits: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise UsageError(f"{name} is {value!r}: it must map names to values.")
    if hint is Any:
        return dict(value)
    return {key: check(f"{name}.{key}", each, hint, limits) for key, each in value.items()}


def _check_names(name: str, value: Any) -> Names:
    if not isinstance(value, str | list | tuple):
        raise UsageError(f"{name} is {value!r}: it must be a list of names.")
    return Names(value)


def _check_group(name: str, value: Any, hint: Any) -> Any:
    if not isinstance(value, hint):
        raise UsageError(f"{name} is {value!r}: it must be a group of settings.")
    return value


_LIMITS: dict[str, tuple[str, Callable[[float, float], bool]]] = {
    "low": ("of at least", operator.ge),
    "above": ("above", operator.gt),
    "high": ("of at most", operator.le),
    "below": ("below", operator.lt),
}


def _check_range(name: str, value: float, limits: Mapping[str, Any]) -> float:
    given = {kind: limit for kind, limit in limits.items() if limit is not None}
    if math.isfinite(value) and all(_LIMITS[kind][1](value, given[kind]) for kind in given):
        return value
    noun = "a whole number" if isinstance(value, int) else "a finite number"
    span = " and ".join(f"{_LIMITS[kind][0]} {limit}" for kind, limit in given.items())
    raise UsageError(f"{name} is {value}: it must be {noun} {span}".rstrip() + ".")


Group = TypeVar("Group", bound=Settings)


def build(kind: type[Group], values: Mapping[str, Any]) -> Group:
    """Settings from a nested mapping.

    Raises:
        UsageError: a key is unknown (the message lists the valid ones), or a value is wrong.
    """
    hints = typing.get_type_hints(kind)
    names = [item.name for item in dataclasses.fields(kind)]
    arguments: dict[str, Any] = {}
    for name, value in values.items():
        if name not in names:
            raise UsageError(
                unknown("setting", kind.prefix + name, [kind.prefix + each for each in names])
            )
        group = dataclasses.is_dataclass(hints[name]) and isinstance(value, Mapping)
        arguments[name] = build(hints[name], value) if group else value
    return kind(**arguments)


def merge(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """One nested mapping; later layers win, value by value."""
    merged: dict[str, Any] = {}
    for layer in layers:
        for name, value in layer.items():
            old = merged.get(name)
            both = isinstance(old, Mapping) and isinstance(value, Mapping)
            merged[name] = merge(old, value) if both else value  # type: ignore[arg-type]
    return merged


def plain(settings: Settings) -> dict[str, Any]:
    """A nested dict that JSON can hold; callables are spelled `package.module:attribute`."""
    values = {item.name: getattr(settings, item.name) for item in dataclasses.fields(settings)}
    return {name: _plain_value(value) for name, value in values.items()}


def _plain_value(value: Any) -> Any:
    if isinstance(value, Settings):
        return plain(value)
    if isinstance(value, Names):
        return [spell(name) for name in value]
    if isinstance(value, dict):
        return {name: _plain_value(each) for name, each in value.items()}
    return spell(value) if callable(value) else value


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted names to values."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """The settings in which two plain configurations differ, and how: "seed (1, not 0)"."""
    left, right = flatten(ours), flatten(theirs)
    return [
        f"{name} ({left.get(name)}, not {right.get(name)})"
        for name in sorted(left.keys() | right.keys())
        if left.get(name) != right.get(name)
    ]
