"""What a run leaves on disk while it lasts: log, TensorBoard, pictures, checkpoints, exports."""

from __future__ import annotations

import time
from collections import deque

from egan.assembly import make_game
from egan.directory import Directory
from egan.findings import write_lineage
from egan.gallery import show, views
from egan.generator import Generator, export
from egan.monitor import Board, Log, Row, read_log
from egan.pictures import draw
from egan.scores import applicable, evaluate, named, reference, score_of
from egan.settings import plain
from egan.snapshot import Best, freeze
from egan.state import State
from egan.world import World
from populations import checkpoint
from populations.individual import Individual

VIEWS = {name: view for name, view in views.items() if name != "grid"}  # which frames are


class Recorder:
    """Writes what a run leaves behind, at the intervals that its configuration says."""

    def __init__(self, world: World, directory: Directory, state: State, best: Best | None) -> None:
        self.world, self.directory, self.best = world, directory, best
        self.records = world.config.records
        self.names = applicable(world.data, self.records.features, self.records.distance)
        self.judge = named(self.records.judge, self.names) or self.records.judge
        self.until = world.config.generations
        begun = bool(checkpoint.all_in(directory.checkpoints))
        if not begun:
            directory.clear_events()
        self.generator = Generator(make_game(world.config, world.data.shape, str(world.device)))
        directory.samples.mkdir(exist_ok=True)
        for frame in directory.frames():
            if int(frame.stem) > state.generation:
                frame.unlink()
        if state.generation < self.until:
            for name in VIEWS:
                directory.view(name).unlink(missing_ok=True)
        self.frame_every = max(1, world.config.horizon // self.records.pictures)
        self.score_every = min(self.records.score_every, world.config.horizon)
        self.log = Log(directory.log, state.generation)
        rows = deque(read_log(directory.log), maxlen=1)
        self.before, self.began = rows[0]["seconds"] if rows else 0.0, time.monotonic()
        self.board = Board(
            directory.path,
            self.records.tensorboard_every,
            state.generation if begun else None,
            plain(world.config),
        )
        if not begun:
            self._draw(state)
            self.save(state)

    @property
    def seconds(self) -> float:
        """Since the run began, interruptions left out."""
        return float(self.before + time.monotonic() - self.began)

    def record(self, state: State, row: Row) -> None:
        """Write one generation."""
        last = state.generation == self.until and self.best is None
        if last or state.generation % self.score_every == 0:
            row["score"] = self._score(state)
        self.log.write(row)
        self.board.show(row)
        if state.generation % self.frame_every == 0:
            self._draw(state)
        if state.generation == self.until:
            self._draw_views(state)
        if state.generation % self.records.checkpoint_every == 0:
            self.save(state)

    def save(self, state: State) -> None:
        """Make all that has happened survive a crash: log first, then checkpoint and exports."""
        self.log.sync()
        saved = {**freeze(state, self.best), "data": self.world.fingerprint}
        checkpoint.save(self.directory.checkpoints, state.generation, saved)
        self.export("final", state.population[0], state.generation)
        if self.best:
            self.export("best", self.best.individual, self.best.generation)
        if state.refuge:
            self.export("refuge", state.refuge.population[0], state.refuge.generation)

    def export(self, which: str, individual: Individual, generation: int) -> None:
        """Write the generator of an individual."""
        module = self.generator.load(individual).module
        export(self.directory, which, module, generation, self.world.data.shape)

    def close(self) -> None:
        """Flush and close everything, and bring the lineage up to date."""
        self.log.close()
        self.board.close()
        write_lineage(self.directory)

    def _score(self, state: State) -> dict[str, float]:
        count, data = self.records.score_samples, self.world.data
        samples = self.generator.load(state.population[0]).sample(count, seed=state.generation)
        found = evaluate(samples, data, self.names, reference(data, count))
        score, merit = found[self.judge], score_of(self.judge).merit
        if self.best is None or merit(score) > merit(self.best.score):
            self.best = Best(state.population[0], score, state.generation)
        return found

    def _draw(self, state: State) -> None:
        path = self.directory.frame(state.generation)
        generator = self.generator.load(state.population[0])
        draw(generator.sample, self.world.data, path, f"generation {state.generation:,}")
        self.board.picture(path, state.generation, "samples")

    def _draw_views(self, state: State) -> None:
        generator, data = self.generator.load(state.population[0]), self.world.data
        for name, view in VIEWS.items():
            if view.suits(generator, data):
                known = {"data": data, "features": self.records.features}
                options = known if view.reads_data else {}
                path = self.directory.view(name)
                view.draw(show(view, generator, data.shape, 0, options), data, path)
                self.board.picture(path, state.generation, name)
