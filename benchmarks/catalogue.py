"""The catalogue of operators, `docs/operators.md`: `python -m benchmarks.catalogue`.

Names, formulas and sources come from the registries' docstrings, settings' texts from the
configuration, cost and verdicts from the results of `benchmarks.operators`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import docstring_parser

from benchmarks.operators import (
    ARMS,
    BUDGET,
    CLEAR,
    DATA,
    LEVEL,
    RESULTS,
    Row,
    cost_ratio,
    distances,
    ratio_to_base,
    table,
    verdict,
)
from benchmarks.presets import read
from egan.config import Config
from egan.fitness import combinations, diversities, qualities
from egan.losses import mutations, objectives
from egan.networks import augmentations
from egan.penalties import penalties
from egan.perturbations import perturbations
from egan.recombination import crossovers
from populations.choice import choices
from populations.selection import selections

PAGE = Path(__file__).parent.parent / "docs" / "operators.md"
SOURCE = re.compile(
    r"[A-ZÀ-Ž][\w’'-]+(?:(?:,| and| et al\.)? ?(?:[A-ZÀ-Ž][\w’'-]+)?)*? \(\d{4}[^)]*\)"
    r"(?:, (?:Eqs?\.|sections?|Algorithm|Table|appendix) ?\d[\d.]*)?"
)
FUNCTIONS: dict[str, tuple[str, Mapping[str, Any], Callable[[Any], Any]]] = {
    "mutations": ("Mutations: losses of the generator", mutations, lambda entry: entry),
    "perturbations": ("Mutations: perturbations", perturbations, lambda entry: entry),
    "penalties": ("Penalties of the discriminator", penalties, lambda entry: entry),
    "augmentations": ("Augmentations of images", augmentations, lambda entry: entry),
    "qualities": ("Fitness: quality", qualities, lambda entry: entry),
    "diversities": ("Fitness: diversity", diversities, lambda entry: entry),
    "combinations": ("Fitness: combination", combinations, lambda entry: entry),
    "selections": ("Selection", selections, lambda entry: entry.choose),
    "choices": ("Choice among mutations", choices, lambda entry: entry.choose),
    "crossovers": ("Crossover", crossovers, lambda entry: entry.cross),
}
OF_BASE = {
    "objectives: minimax", "qualities: probability", "combinations: sum", "selections: best",
    "choices: all",
}  # fmt: skip
SHOWN = {each for arm in ARMS.values() for each in arm.shows}
HEAD = f"""# Operators

Every operator by the name that the configuration and the command line use (`egan list`), with its
formula, its source, what a generation costs with it and what was seen of its effect. s is the
discriminator's logit on a fake, r one on a real sample, sigma the sigmoid, sp softplus, E the
mean. This page is written by `python -m benchmarks.catalogue`.

Cost and effect come from `python -m benchmarks.operators`: the default preset **without
penalties** (where runs can lose modes, so that there is something to mend) with this one thing
changed, on the ring and on twelve modes of unequal weights, at the counted floating-point
operations of {BUDGET:,} generations of that base. Cost is the operations of a generation over the
base's. The ratio is that of the final energy distance to the base's on the same data and seed, the
median over runs (below 1: better). **use**: the ratio is below {1 / CLEAR:.2g}, and Wilcoxon's
test over the pairs says p < {LEVEL}; **harmful**: above {CLEAR}, likewise; **no effect seen**:
neither, which with so few pairs only says that no large effect is likely (of six, all must agree).
p is not corrected for the {len(ARMS)} arms, so some of the verdicts are luck. The best
ten arms are run again with ten other seeds. All of it is about short runs of small networks on two
sets of points; it is no verdict on images (augmentations need images, and are not screened).
"""


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(read(RESULTS)), encoding="utf-8")
    print(f"Written: {PAGE}")


def page(rows: list[Row]) -> str:
    """The page, as Markdown."""
    kinds = [*FUNCTIONS]
    kinds.insert(kinds.index("penalties"), "objectives")
    parts = [HEAD + _progress(rows), *[_kind(rows, kind) for kind in kinds]]
    lines = [
        _line(name, _setting(name), "", *_found(rows, f"settings: {name}")) for name in _settings()
    ]
    parts.append(_section("Settings that are operators", lines))
    if rows:
        parts.append(f"## All arms, the best first\n\n{table(rows)}\n")
    return "\n".join(parts)


def _progress(rows: list[Row]) -> str:
    """How far the screen has got, where it is not complete."""
    done = sum(all((data, 0) in distances(rows, arm) for data in DATA) for arm in ARMS)
    if done == len(ARMS):
        return ""
    return f"\n**The screen is not complete: {done} of {len(ARMS)} arms have run.**\n"


def _kind(rows: list[Row], kind: str) -> str:
    """The section on all entries of a registry."""
    if kind == "objectives":
        texts = {name: (entry.text, "") for name, entry in objectives.items()}
        title = "Objectives of the discriminator"
    else:
        title, entries, function = FUNCTIONS[kind]
        texts = {name: _text(function(entry)) for name, entry in entries.items()}
    lines = [_line(name, *text, *_found(rows, f"{kind}: {name}")) for name, text in texts.items()]
    return _section(title, lines)


def _section(title: str, lines: list[str]) -> str:
    head = "| name | what it is | source | cost | seen |\n|---|---|---|---|---|\n"
    return f"## {title}\n\n{head}" + "\n".join(lines) + "\n"


def _line(name: str, text: str, source: str, cost: str, seen: str) -> str:
    cells = [f"`{name}`", *(each.replace("|", "\\|") for each in (text, source)), cost, seen]
    return f"| {' | '.join(cells)} |"


def _text(function: Any) -> tuple[str, str]:
    """What a docstring's first line says, and whom the rest of it cites first."""
    first, _, rest = (function.__doc__ or "").strip().partition("\n")
    found = SOURCE.search(" ".join(rest.split()))
    return first, found[0].rstrip(".") if found else ""


def _found(rows: list[Row], shown: str) -> tuple[str, str]:
    """Cost, and what each arm that shows an operator says of it."""
    arms = [arm for arm, each in ARMS.items() if shown in each.shows and distances(rows, arm)]
    if shown in OF_BASE:
        return "1.00", "the base has it"
    if not arms:
        return "", "" if shown in SHOWN else "not screened"
    seen = []
    for arm in arms:
        ratio, p, pairs = ratio_to_base(rows, arm)
        said = f"{verdict(rows, arm)} ({ratio:.2f}, p {p:.3f}, {pairs} runs)"
        seen.append(f"{arm}: {said}" if len(arms) > 1 else said)
    costs = [cost_ratio(rows, arm) for arm in arms]
    ends = dict.fromkeys(f"{end(costs):.2f}" for end in (min, max))
    return " to ".join(ends), "; ".join(seen)


def _settings() -> list[str]:
    """Settings that arms change, by their dotted names."""
    shown = [each for arm in ARMS.values() for each in arm.shows]
    kinds = [each.removeprefix("settings: ") for each in shown if each.startswith("settings: ")]
    return list(dict.fromkeys(kinds))


def _setting(name: str) -> str:
    """What the configuration says of a setting."""
    group, leaf = name.split(".")
    owner = type(getattr(Config(), group))
    for each in docstring_parser.parse_from_object(owner).params:
        if each.arg_name == leaf:
            return " ".join((each.description or "").split())
    raise KeyError(name)


if __name__ == "__main__":
    main()
