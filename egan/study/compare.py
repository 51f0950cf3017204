"""`egan compare`: plan a study, run what is missing, write what it says."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path

import joblib
from tqdm import tqdm

from egan.cost import clock
from egan.data import make_data
from egan.scores import accuracy, note
from egan.study.calibration import calibration
from egan.study.cells import Task, run_cell
from egan.study.plan import Asked, Tell, priced, wanted
from egan.study.records import Cell, DataSet, Folder, Key, Study, held
from egan.study.tables import facts, legend, markdown, results, summary
from populations.checkpoint import write_whole
from populations.errors import RunError, UsageError


@dataclass(frozen=True)
class Outcome:
    """A study and its finished cells.

    Attributes:
        folder: where it lies.
        study: what is compared.
        cells: finished, in the order of the study.
    """

    folder: Folder
    study: Study
    cells: list[Cell]

    def table(self) -> str:
        """What the study says, in Markdown."""
        compared = markdown(self.study, summary(self.study, self.cells))
        published = calibration(self.study, self.cells)
        return f"{compared}\n\n{published}" if published else compared

    def page(self) -> str:
        """The table with what was asked, what its columns mean, and where it comes from."""
        said = "\n".join(
            f"- {name}: {text}" for name, text in facts(self.study, self.cells).items()
        )
        return f"{said}\n\n{self.table()}\n\n{legend(self.study)}\n"


def compare(
    out: Path,
    asked: Asked,
    *,
    jobs: int = 0,
    about: Mapping[str, str] | None = None,
    progress: bool = False,
    tell: Tell = lambda sentence: None,
) -> Outcome:
    """Run a study, or go on with the one that lies there; finished cells are not run again.

    Args:
        out: the study's directory.
        asked: what is compared; a study that lies there may get more data, arms and seeds.
        jobs: processes; 0: one a processor core.
        about: more texts on where it came from.
        progress: whether to show a progress bar.
        tell: told what happens, one sentence at a time.

    Raises:
        UsageError: what was asked for cannot be done; nothing was started.
    """
    folder = Folder(out)
    old = folder.read() if folder.exists() else None
    plan = wanted(asked, old)
    with held(folder):
        study = priced(plan, old, tell)
        more = study.data[len(old.data) if old else 0 :]
        judges = {**_judges(more), **_notes(more)}
        study = replace(study, about={**judges, **(old.about if old else {}), **(about or {})})
        folder.write(study)
        _run(folder, study, jobs, progress, tell)
        outcome = Outcome(folder, study, _in_order(folder, study))
        _write(outcome, tell)
    return outcome


def report(out: Path, tell: Tell = lambda sentence: None) -> Outcome:
    """Write again what is made of a study's finished cells; nothing is run, others may run it.

    Raises:
        UsageError: no study lies there, or no cell of it is finished.
    """
    folder = Folder(out)
    study = folder.read()
    outcome = Outcome(folder, study, _in_order(folder, study))
    if not outcome.cells:
        raise UsageError(
            f"the study {out} has no finished run yet: egan compare --out {out} goes on with it."
        )
    _write(outcome, tell)
    return outcome


def _run(folder: Folder, study: Study, jobs: int, progress: bool, tell: Tell) -> None:
    """Run the cells that are missing; each is on disk as soon as it is finished."""
    done = folder.read_cells()
    keys = [key for key in study.whole() if key not in done]
    here = origin()
    tasks = [_task(folder, study, key, here) for key in keys]
    jobs = jobs or joblib.cpu_count()
    seconds = sum(task.part.generations * task.part.seconds for task in tasks) / jobs
    tell(
        f"{len(tasks)} of {len(study.whole())} cells to run on {jobs} processes: "
        f"about {clock(seconds)}, looks left out."
    )
    work = joblib.Parallel(n_jobs=jobs, return_as="generator_unordered")(
        joblib.delayed(run_cell)(task) for task in tasks
    )
    shown = tqdm(work, total=len(tasks), unit="cell", disable=not progress or not tasks)
    try:
        for cell in shown:
            folder.append(cell)
    except BrokenProcessPool as error:
        raise RunError(
            f"a process of the study was killed, perhaps for lack of memory; finished runs are "
            f"kept: egan compare --out {folder.path} --jobs 1 goes on with fewer."
        ) from error


def _task(folder: Folder, study: Study, key: Key, here: Mapping[str, str]) -> Task:
    data, arm, seed = key
    return Task(
        next(each for each in study.data if each.name == data),
        next(each for each in study.arms if each.name == arm),
        seed, study.parts[data, arm], study.looks, study.common, folder.samples(*key), origin=here,
    )  # fmt: skip


def _in_order(folder: Folder, study: Study) -> list[Cell]:
    cells = folder.read_cells()
    return [cells[key] for key in study.whole() if key in cells]


def _write(outcome: Outcome, tell: Tell) -> None:
    """Everything that is made from the cells."""
    from egan.study.views import write_views  # Matplotlib, which the processes do without

    for name, text in (
        ("table.md", outcome.page()),
        ("results.csv", results(outcome.cells)),
    ):
        path = outcome.folder.path / name
        write_whole(path, partial(Path.write_text, data=text, encoding="utf-8"))
    write_views(outcome.folder, outcome.study, outcome.cells, tell)


def _judges(data: Sequence[DataSet]) -> dict[str, str]:
    """How good the classifiers are that see the data, trained now where they are not.

    Raises:
        UsageError: one is too bad to judge.
    """
    right = {each.name: accuracy(make_data(each.source, each.options)) for each in data}
    return {
        f"classifier of {name}": f"right in {share:.1%} of held-out images"
        for name, share in right.items()
        if share is not None
    }


def _notes(data: Sequence[DataSet]) -> dict[str, str]:
    """What must be known of scores on the data."""
    notes = {each.name: note(make_data(each.source, each.options)) for each in data}
    return {f"note on {name}": text for name, text in notes.items() if text}


def origin() -> dict[str, str]:
    """The version that runs, and where: `commit` and `hardware`."""
    return {
        "commit": _commit() or f"egan {version('egan')}",
        "hardware": f"{platform.machine()}, {joblib.cpu_count()} cores, Python "
        f"{platform.python_version()}",
    }


def _commit() -> str:
    """Of the checkout that this file belongs to, marked where that has changes; else empty."""
    here = Path(__file__)
    for words in (["ls-files", "--error-unmatch", here.name], ["describe", "--always", "--dirty"]):
        try:
            found = subprocess.run(
                ["git", *words], capture_output=True, text=True, check=True, cwd=here.parent
            )
        except (OSError, subprocess.CalledProcessError):
            return ""
    return found.stdout.strip()
