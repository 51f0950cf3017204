"""What a run found: its scores beside those of real data, and one paragraph of words."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from egan.cost import clock
from egan.data import Data, Mixture, Stacked
from egan.directory import Directory
from egan.generator import Generator, Share, exported
from egan.monitor import Row, finite, read_log
from egan.scores import Score, accuracy, evaluate, floors, named, note, score_of
from populations.checkpoint import write_whole
from populations.registry import first_line

SHOWN = 5  # alarms whose generations are named
Verdict = dict[str, dict[str, float]]
"""Of one generator, by the score's name: its `score`, and what `real` samples score."""
BETTER = {"higher": "higher is better", "lower": "lower is better", "real": "as real"}
UNITS = {
    "reverse-kl": "nats",
    "reverse-kl-all": "nats",
    "energy-distance": "the data's units",
    "class-entropy": "nats",
}


def judge(
    generators: Mapping[str, Generator],
    data: Data,
    count: int,
    features: str,
    distance: str | None,
) -> dict[str, Verdict]:
    """Each score of `count` samples of each generator, and what as many real samples score.

    Args:
        generators: by what they are called.
        data: what samples should look like.
        count: of samples.
        features: the feature network by which images are judged.
        distance: by which their diversity is judged too.
    """
    real = floors(data, count, features, distance)
    return {
        which: {
            name: {"score": score, "real": real[name]}
            for name, score in evaluate(generator.sample(count), data, list(real)).items()
        }
        for which, generator in generators.items()
    }


def record_scores(
    directory: Directory, found: Mapping[str, Verdict], data: Data, count: int
) -> None:
    """Write scores into `scores.json`, beside those of other generators.

    Each generator's are told with the number of samples, the accuracy of the classifier where there
    is one, and what must be known of the data.
    """
    right = accuracy(data, directory.load_config().records.features)
    facts = {"samples": count, "classifier": right, "note": note(data) or None}
    told = {name: fact for name, fact in facts.items() if fact is not None}
    new = {which: {**told, **finite(verdict)} for which, verdict in found.items()}
    text = json.dumps({**recorded_scores(directory), **new}, indent=2) + "\n"
    write_whole(directory.scores, lambda part: part.write_text(text, encoding="utf-8"))


def recorded_scores(directory: Directory) -> dict[str, Any]:
    """What `scores.json` holds; nothing where there is none, or where it cannot be read."""
    try:
        found = json.loads(directory.scores.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def table(found: Verdict) -> str:
    """Scores as text: name, value, what real data have, which is better."""
    width = max(map(len, found)) + 1
    lines = [f"{'score':{width}}{'value':>12}{'real data':>12}  "]
    for name, values in found.items():
        score: Score = score_of(name)
        lines.append(
            f"{name:{width}}{values['score']:12.4g}{values['real']:12.4g}  "
            f"{BETTER[score.better]}: {first_line(score.function)}"
        )
    return "\n".join(lines)


def grounds(data: Data, count: int, features: str) -> str:
    """What a table of scores rests on: the samples, and the classifier where there is one."""
    right = accuracy(data, features)
    by = "" if right is None else f" The classifier is right in {right:.1%} of held-out images."
    return " ".join([f"Of {count:,} samples.{by}", *_warning(note(data))])


def _warning(fact: str) -> list[str]:
    return [f"Note that {fact}."] if fact else []


def titled(name: str, between: str = " ") -> str:
    """A score as the title of an axis: its name and, after `between`, its unit and direction."""
    notes = [UNITS[name]] if name in UNITS else []
    return f"{name}{between}({', '.join([*notes, BETTER[score_of(name).better]])})"


def summary(directory: Directory) -> dict[str, Any]:
    """Sums over the log: generations, seconds, alarms, revivals, each mutation's wins."""
    wins: dict[str, float] = {}
    alarms: list[int] = []
    revivals = 0
    last: dict[str, Any] = {"generation": 0, "seconds": 0.0}
    for last in read_log(directory.log):
        watch = last.get("watch", {})
        alarms += [last["generation"]] if watch.get("alarm") else []
        revivals += "revived" in watch
        for name, share in last["selection"].items():
            wins[name] = wins.get(name, 0.0) + share
    total = sum(wins.values()) or 1.0
    return {
        "generations": last["generation"],
        "seconds": last["seconds"],
        "alarms": alarms,
        "revivals": revivals,
        "wins": {name: count / total for name, count in wins.items()},
    }


def write_lineage(directory: Directory) -> None:
    """Write `lineage.csv` from the log: one line for each who ever survived, the oldest first.

    Its columns: `parent` and `number`, an edge from the one to the other; `mutation`, or another
    operator, that made it; `generation`, after which it is in the log for the first time; `fitness`
    in that generation, nan where it was not judged. The first generation's parents descend from -1,
    in generation 0. Where children have children in the same generation (crossovers, chains), those
    between a survivor and its parent have lines too.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["parent", "number", "mutation", "generation", "fitness"])
    writer.writerows(_lineage(read_log(directory.log)))
    write_whole(directory.lineage, lambda part: part.write_text(text.getvalue(), encoding="utf-8"))


def _lineage(rows: Iterable[Row]) -> Iterator[tuple[Any, ...]]:
    seen: set[int] = set()
    for row in rows:
        if not seen:
            seen |= set(range(len(row["population"])))
            yield from ((-1, number, "initial", 0, math.nan) for number in sorted(seen))
        for one in [*row.get("between", []), *row["population"]]:
            if one["number"] not in seen:
                seen.add(one["number"])
                fitness = one.get("fitness")  # older logs have none
                worth = math.nan if fitness is None else fitness
                yield one["parent"], one["number"], one["mutation"], row["generation"], worth


def paragraph(directory: Directory, data: Data) -> str:
    """One paragraph on a finished run."""
    facts, preset = summary(directory), directory.load_config().preset
    speed = facts["generations"] / max(facts["seconds"], 1e-9)
    form = ",.0f" if speed >= 10 else ".2g"
    scored = recorded_scores(directory)
    sentences = [
        f"Evolved {facts['generations']:,} generations on {data.name} in "
        f"{clock(facts['seconds'])} ({speed:{form}} a second, preset {preset}).",
        *_quality("The final generator", scored.get("final", {}), data),
        *_best(scored, directory),
    ]
    if directory.weights("mixture").is_file():
        sentences.append(_shares(exported(directory, "mixture").members))
        sentences += _quality("It", scored.get("mixture", {}), data)
    if len(facts["wins"]) > 1:
        shares = ", ".join(f"{name} {share:.0%}" for name, share in facts["wins"].items())
        sentences.append(f"Survivors came from {shares}.")
    if facts["alarms"]:
        sentences += _collapses(facts["alarms"], facts["revivals"], directory)
    return " ".join([*sentences, *_warning(note(data))])


def _collapses(alarms: Sequence[int], revivals: int, directory: Directory) -> list[str]:
    shown = ", ".join(f"{generation:,}" for generation in alarms[:SHOWN])
    more = f" and {len(alarms) - SHOWN:,} more" if len(alarms) > SHOWN else ""
    back = f" ({revivals:,} undone)" if revivals else ""
    return [
        f"There was an alarm of a collapse at generation {shown}{more}{back}.",
        f"The generator that covered most of the data, that of generation "
        f"{exported(directory, 'refuge').generation:,}, is kept: --which refuge.",
    ]


def _best(scored: Mapping[str, Any], directory: Directory) -> list[str]:
    """Of the best generator at a look, where it is still better than the final one."""
    final, best = scored.get("final", {}), scored.get("best", {})
    name = named(directory.load_config().records.judge, list(final))
    if name is None or name not in best:
        return []
    kept, last = (
        math.nan if found[name]["score"] is None else found[name]["score"]
        for found in (best, final)
    )
    if score_of(name).merit(kept) <= score_of(name).merit(last):
        return []
    generation = exported(directory, "best").generation
    return [
        f"By {name} the generator of generation {generation:,} is better, {kept:.3g} against "
        f"{last:.3g}: it is kept (--which best)."
    ]


def _shares(members: Sequence[Share]) -> str:
    parts = [f"{weight:.1%} from generation {generation:,}" for generation, weight in members]
    return f"A mixture fitted to cover the data draws {', '.join(parts)}."


def _quality(subject: str, found: dict[str, Any], data: Data) -> list[str]:
    sentences = []
    if "modes" in found and isinstance(data, Mixture):
        share = found["high-quality"]
        sentences.append(
            f"{subject} covers {found['modes']['score']:.0f} of "
            f"{len(data.centres)} modes, and {share['score']:.1%} of its samples are of high "
            f"quality (real data: {share['real']:.1%})."
        )
    if "modes" in found and isinstance(data, Stacked):
        sentences.append(_triples(subject, found, data))
    elif "confidence" in found:
        sure, spread, classes = (found[name] for name in ("confidence", "class-entropy", "classes"))
        right = found.get("classifier")  # older runs did not record it
        trust = "" if right is None else f", right in {right:.1%} of held-out images,"
        sentences.append(
            f"A classifier{trust} is {sure['score']:.1%} sure of what it sees (real data: "
            f"{sure['real']:.1%}) and finds {classes['score']:.0f} of "
            f"{classes['real']:.0f} classes with an entropy of "
            f"{spread['score']:.2f} nats (real data: {spread['real']:.2f})."
        )
    frechet = next((name for name in found if name.startswith("frechet-distance/")), None)
    if frechet is not None and found[frechet]["score"] is not None:
        values, network = found[frechet], frechet.partition("/")[2]
        sentences.append(
            f"Its Frechet distance by features of the network {network} is {values['score']:.3g} "
            f"(real data: {values['real']:.2g})."
        )
    if "energy-distance" in found and found["energy-distance"]["score"] is not None:
        energy = found["energy-distance"]
        sentences.append(
            f"Its energy distance to the data is {energy['score']:.2g} (between two sets of real "
            f"samples: {energy['real']:.2g})."
        )
    return sentences


def _triples(subject: str, found: dict[str, Any], data: Stacked) -> str:
    modes, divergence, sure = (found[name] for name in ("modes", "reverse-kl", "confidence"))
    return (
        f"{subject} covers {modes['score']:,.0f} of {len(data.weights):,} triples of classes in "
        f"{found['samples']:,} samples, {divergence['score']:.2g} nats of KL divergence from equal "
        f"shares (real data: {modes['real']:,.0f}, {divergence['real']:.2g}). The classifier "
        f"that says so is right in {found['classifier']:.1%} of held-out images, and "
        f"{sure['score']:.1%} sure of what it sees (real data: {sure['real']:.1%})."
    )
