"""What a study is: of what is asked for, what is compared, and what the budget buys each arm."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from egan.data import has_option, make_data
from egan.scores import applicable, named, primary_of, samples_of
from egan.settings import merge
from egan.snapshot import start
from egan.study.arms import USUAL, Arm, parse_arms
from egan.study.budgets import Budget, Price, parse_budget, price_of
from egan.study.cells import settings_of, world_of
from egan.study.protocols import Protocol, protocol_of
from egan.study.records import DataSet, Part, Study
from egan.study.sweeps import spelled, swept
from populations.errors import UsageError
from populations.registry import unknown

LOOKS = 20
GENERATIONS = 2_000  # of the first arm, whose operations are the budget where none is given
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Asked:
    """What a study is asked to be; what is None is as it was, or as usual.

    Attributes:
        data: names, files, or `NAME[OPTION=VALUE]`; several values are several data sets.
        arms: see `arms.parse_arms`.
        seeds: of the runs.
        budget: see `budgets.parse_budget`.
        looks: times that a run is judged.
        primary: the score by which arms are compared.
        samples: on which final scores are taken.
        common: settings of all arms, nested, under each arm's own.
        protocol: a published experiment, see `protocols`, that says all the rest where it is None;
            settings of all arms are laid over its own.
        data_dir: folder with the files of those data sets that have such an option.
    """

    data: Sequence[str] | None = None
    arms: Sequence[str] | None = None
    seeds: Sequence[int] | None = None
    budget: str | None = None
    looks: int | None = None
    primary: str | None = None
    samples: int | None = None
    common: Mapping[str, Any] | None = None
    protocol: str | None = None
    data_dir: str | None = None


def wanted(asked: Asked, old: Study | None) -> Study:
    """What is compared, without prices.

    Raises:
        UsageError: a study lies there that was another.
    """
    name = asked.protocol or (old.protocol if old else "")
    protocol = protocol_of(name) if name else None
    if protocol and old is None:
        asked = _filled(asked, protocol)
    elif protocol:
        asked = _laid_over(asked, protocol)
    _check_numbers(asked)
    if old is None and not asked.data:
        raise UsageError("name what to compare on: a data set such as ring, or several.")
    asked, old = _at_folder(asked, old)
    data = [each for text in asked.data or () for each in _data_sets(text, asked)]
    if old is not None:
        _check_scores(asked, old)
        data = [_as_before(each, old) for each in data]
    _check_folder(asked, [*data, *(old.data if old else ())])
    arms = parse_arms(asked.arms or (() if old else USUAL))
    if protocol:
        arms = [protocol.tailor(arm) for arm in arms]
    study = _begun(asked, data, arms) if old is None else _enlarged(asked, old, data, arms)
    return _checked(study)


def _check_numbers(asked: Asked) -> None:
    for name, number, least in (("looks", asked.looks, 1), ("samples", asked.samples, 2)):
        if number is not None and number < least:
            raise UsageError(f"{name} is {number}: it must be at least {least}.")


def _check_scores(asked: Asked, old: Study) -> None:
    """Raise UsageError where the study's data sets are judged otherwise."""
    for each in old.data:
        for name, given, before in (
            ("primary score", asked.primary, each.primary),
            ("number of samples", asked.samples, each.samples),
        ):
            if given is not None and given != before:
                raise UsageError(
                    f"the study has another {name} on {each.name}, {before}, not {given}: leave it "
                    "out, or name another directory."
                )


def _as_before(data: DataSet, old: Study) -> DataSet:
    """A data set that the study has is judged as it was."""
    before = next((each for each in old.data if each.name == data.name), data)
    return data._replace(primary=before.primary, samples=before.samples)


def _laid_over(asked: Asked, protocol: Protocol) -> Asked:
    """With the protocol's scores, and its settings under those that are given."""
    return replace(
        asked,
        primary=asked.primary or protocol.primary,
        samples=asked.samples or protocol.samples,
        common=None if asked.common is None else merge(protocol.settings, asked.common),
    )


def _filled(asked: Asked, protocol: Protocol) -> Asked:
    """With what the protocol says of all that is not asked for."""
    return _laid_over(replace(
        asked,
        data=asked.data or protocol.data,
        arms=asked.arms or protocol.arms,
        seeds=asked.seeds or range(protocol.seeds),
        budget=asked.budget or f"generations={protocol.generations}",
        common=asked.common or {},
    ), protocol)  # fmt: skip


def _begun(asked: Asked, data: list[DataSet], arms: list[Arm]) -> Study:
    budget = parse_budget(asked.budget or f"flops={arms[0].name}:{GENERATIONS}")
    return Study(
        data, arms, list(asked.seeds or range(5)), budget, asked.looks or LOOKS,
        asked.common or {}, protocol=asked.protocol or "",
    )  # fmt: skip


def _enlarged(asked: Asked, old: Study, data: list[DataSet], arms: list[Arm]) -> Study:
    """The study that lies there, with more of what it may get more of.

    Raises:
        UsageError: something else was asked for.
    """
    for name, given, before in (
        ("protocol", asked.protocol, old.protocol or "none"),
        ("budget", asked.budget and str(parse_budget(asked.budget)), str(old.budget)),
        ("looks", asked.looks, old.looks),
        ("settings of all arms", asked.common or None, old.common),
    ):
        if given is not None and given != before:
            raise UsageError(
                f"the study has another {name}, {before}, not {given}: leave it out, or name "
                "another directory."
            )
    return replace(
        old,
        data=_joined("data set", old.data, data),
        arms=_joined("arm", old.arms, arms),
        seeds=sorted({*old.seeds, *(asked.seeds or ())}),
    )


def _joined(kind: str, old: Sequence[Any], new: Sequence[Any]) -> list[Any]:
    """The old ones and those that are new by name.

    Raises:
        UsageError: one has another meaning now.
    """
    before = {each.name: each for each in old}
    for each in new:
        if before.get(each.name, each) != each:
            raise UsageError(
                f"the study's {kind} {each.name} was another: name it otherwise, or another "
                "directory."
            )
    return [*old, *(each for each in new if each.name not in before)]


def _checked(study: Study) -> Study:
    names = [data.name for data in study.data]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"the data set {name} is there twice: every one must be another.")
    if study.budget.arm and study.budget.arm not in [arm.name for arm in study.arms]:
        known = [arm.name for arm in study.arms]
        raise UsageError(f"the budget: {unknown('arm', study.budget.arm, known)}")
    return study


def _data_sets(text: str, asked: Asked) -> Iterator[DataSet]:
    """The data sets that a text names: one for each choice of its options."""
    for choice in swept(text):
        options = _located(choice.name, choice.settings, asked.data_dir)
        data = make_data(choice.name, options)
        names = applicable(data)
        primary = named(asked.primary or primary_of(data), names)
        if primary is None:
            raise UsageError(
                f"the score {asked.primary!r} cannot judge {choice.text}: it must be one of "
                f"{', '.join(names)}."
            )
        samples = asked.samples or samples_of(data)
        given = {name: value for name, value in choice.settings.items() if name != "data_dir"}
        yield DataSet(spelled(choice.name, given), choice.name, options, primary, samples)


def _at_folder(asked: Asked, old: Study | None) -> tuple[Asked, Study | None]:
    """Both with the data's folder: the one that is asked for, or else the study's."""
    if old is None:
        return asked, None
    folders = [data.options["data_dir"] for data in old.data if "data_dir" in data.options]
    moved = [
        data._replace(options={**data.options, **_located(data.source, {}, asked.data_dir)})
        for data in old.data
    ]
    asked = replace(asked, data_dir=asked.data_dir or next(iter(folders), None))
    return asked, replace(old, data=moved)


def _located(source: str, options: dict[str, Any], folder: str | None) -> dict[str, Any]:
    """The options of a data set, with the folder where it takes one and has none of its own."""
    return {"data_dir": folder, **options} if folder and has_option(source, "data_dir") else options


def _check_folder(asked: Asked, data: Sequence[DataSet]) -> None:
    if asked.data_dir and not any(has_option(each.source, "data_dir") for each in data):
        names = ", ".join(each.name for each in data)
        raise UsageError(
            f"data_dir is an option of none of these data sets: {names}: leave it out."
        )


def priced(study: Study, old: Study | None, tell: Tell) -> Study:
    """The study with what the budget buys every arm; each world is built once, and tried."""
    parts = dict(old.parts) if old else {}
    for data in study.data:
        wanted = [arm for arm in study.arms if (data.name, arm.name) not in parts]
        if not wanted:
            continue
        tell(f"Pricing {len(wanted)} arms on {data.name}.")
        prices = {arm.name: _price(data, arm, study.common) for arm in wanted}
        amount = _amount(study, data, prices, parts)
        for name, price in prices.items():
            count = int(amount / price.of(study.budget.kind) + 1e-9)
            if count < study.looks:
                raise UsageError(
                    f"the budget {study.budget} buys {count} generations of {name} on {data.name}: "
                    f"it must buy one at least for each of {study.looks} looks."
                )
            parts[data.name, name] = Part(
                count, price.generator_steps, price.flops, price.seconds, price.cpu_seconds
            )
    return replace(study, parts=parts)


def _price(data: DataSet, arm: Arm, common: Mapping[str, Any]) -> Price:
    arm = replace(arm, oracle=False)  # what it takes to ask the oracle is nobody's cost
    world = world_of(data, arm, settings_of(data, arm, common, seed=0))
    try:
        return price_of(start(world), world)
    finally:
        world.executor.close()


def _amount(
    study: Study,
    data: DataSet,
    prices: Mapping[str, Price],
    parts: Mapping[tuple[str, str], Part],
) -> float:
    """The budget of a run on these data, in its unit."""
    budget: Budget = study.budget
    if not budget.arm:
        return budget.amount
    if budget.arm in prices:
        return budget.amount * prices[budget.arm].of(budget.kind)
    part = parts[data.name, budget.arm]
    price = Price(part.generator_steps, part.flops, part.cpu_seconds, part.seconds)
    return budget.amount * price.of(budget.kind)
