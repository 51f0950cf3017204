"""The configuration: one tree of frozen dataclasses. The command line is made from it.

Names of plug-ins are checked where they are looked up, everything else when the tree is made.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from egan.settings import Names, Settings, setting
from populations.errors import UsageError

CONDITIONAL = "conditional"
"""The game in which networks are told of classes."""


@dataclass(frozen=True)
class Networks(Settings, group="networks"):
    """The pair of networks and the noise."""

    name: str = "mlp"
    """A registered pair (`egan list`), or `package.module:attribute` that builds one."""
    width: int | None = setting(None, low=1)
    """Hidden units of a layer (MLP) or base channels (convolutions); default: the pair's own."""
    depth: int | None = setting(None, low=1)
    """Hidden layers (MLP), blocks of a stage (r3gan) or layers of the mapping (stylegan2); default:
    the pair's own."""
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
    spectral_norm: bool = False
    """Whether every linear and convolutional layer of the discriminator has a spectral norm."""
    condition: str = "projection"
    """How the discriminator of a conditional game learns of classes (`egan list`)."""
    classification: float = setting(1.0, above=0)
    """Weight of the classification of samples, real and made, in the losses of both sides, under
    `condition` = auxiliary-classifier."""
    conditional_norm: bool = False
    """Whether a conditional game's generator learns of classes by its batch norms, which then have
    scales and shifts of each class; else by its noise, beside which they stand."""
    classes: int = setting(0, low=0)
    """Classes of a conditional game; 0: those of the data."""
    discriminators: int = setting(1, low=1)
    """Discriminators, each with initial weights of its own, that see the same samples; losses are
    means over all."""


@dataclass(frozen=True)
class Population(Settings, group="population"):
    """The population and who survives in it."""

    mu: int = setting(1, low=1)
    """Parents; each has one child per mutation in every generation (but see `variation.choice`)."""
    selection: str = "best"
    """How survivors are chosen (`egan list`)."""
    parents: Literal["die", "compete"] = "die"
    """Whether parents die (comma selection, the paper), or are judged again beside their children
    on today's discriminator and the same noise, and may survive (plus selection)."""
    crossover: str | None = None
    """How two candidates of a generation are recombined to one more (`egan list`); default: not."""
    crossovers: int = setting(1, low=1)
    """Children by crossover in a generation, of the pairs of highest summed fitness."""
    initial: Literal["independent", "identical"] = "independent"
    """Whether the first parents are initialised each for itself or as copies of one."""
    average: float = setting(0.999, low=0, below=1)
    """Decay of the running average of weights along a lineage, per generation; 0: no average.
    The average is what is sampled, scored and exported."""
    patience: int = setting(10, low=1)
    """Generations in a row without a finite child after which a run gives up."""
    collapse: float = setting(0.6, above=0, high=1)
    """Share of the highest coverage of the data so far, or diversity of samples, below which the
    population counts as collapsed, if noise does not explain the fall."""
    collapse_every: int = setting(100, low=0)
    """Generations between measurements of both, on 1,000 samples; 0: none."""
    on_collapse: Literal["warn", "stop", "revive"] = "warn"
    """At an alarm, warn; or also stop; or also revive: population and discriminator go back to what
    they were at the best coverage, up to three times to each best."""
    mixture: int = setting(0, low=0)
    """Fittest generators of earlier generations that a run keeps, spread evenly over it; at its end
    a mixture of them and of the last population is fitted to cover the data; 0: none."""


@dataclass(frozen=True)
class Variation(Settings, group="variation"):
    """How children are made: optimiser steps (Adam) on losses, and perturbations of weights."""

    mutations: Names = Names(("minimax", "heuristic", "least-squares"))
    """One child each, separated by commas: losses or perturbations (`egan list`), or several in a
    row, such as `heuristic+noise`."""
    choice: str = "all"
    """By which mutations a parent has children (`egan list`)."""
    children: int = setting(1, low=1)
    """Children of a parent, where a choice is made among the mutations."""
    steps: int = setting(1, low=1)
    """Times that a child makes the moves of its mutation in a generation, each on fresh noise."""
    batch: int = setting(128, low=1)
    """Noise samples per step."""
    unrolled: int = setting(0, low=0)
    """Further steps of the discriminator, on its objective without penalties, after which every
    loss sees it and through which the generators' gradients flow (unrolled GANs); 0: losses see it
    as it is."""
    lr: float = setting(8e-3, above=0)
    """Learning rate."""
    beta1: float = setting(0.5, low=0, below=1)
    """Adam's decay of the gradient's mean."""
    beta2: float = setting(0.9, low=0, below=1)
    """Adam's decay of the gradient's square."""
    moments: Literal["inherited", "mutation"] = "inherited"
    """Adam's moments: a child inherits its parent's, or every mutation has its own that advance
    with each of its children, selected or not (as released for Theano); a parent that survives
    keeps its own."""
    strength: float = setting(0.02, low=0)
    """Of perturbations: deviation of `noise` over the root mean square of each layer's weights."""
    gradient_noise: float = setting(0.0, low=0)
    """Gaussian noise on every gradient: its deviation over the root mean square of each layer's
    derivatives; siblings then step in directions of their own. 0: none."""
    orthogonal: float = setting(0.0, low=0)
    """Weight of the orthogonal regularisation of the generator, the penalty `orthogonal` on its
    linear and convolutional layers, which joins every loss (BigGAN: 0.0001); 0: none."""
    adaptation: float = setting(0.0, low=0)
    """Self-adaptation: individuals carry a learning rate and betas of their own, which mutate
    log-normally with this deviation before a child's step. 0: they have none."""


@dataclass(frozen=True)
class Judging(Settings, group="fitness"):
    """The fitness of children: quality + gamma * diversity."""

    gamma: float = setting(0.01, low=0)
    """Weight of diversity; 0: diversity is not computed."""
    combination: str = "sum"
    """How quality and diversity become one fitness (`egan list`)."""
    diversity: str = "gradient"
    """What diversity is (`egan list`): the flatness of the discriminator's objective (the paper),
    or what the samples themselves say."""
    quality: str = "probability"
    """How quality reads the discriminator's logits (`egan list`)."""
    groups: int = setting(8, low=2)
    """Equal groups of the samples (whole packs), whose qualities `lexicase` compares one by one."""
    landmarks: int = setting(16, low=2)
    """Samples of the data in the middle of its k-means cells. A child's behaviour, which novelty
    and `map-elites` read, is the share of its samples nearest to each."""
    archive: int = setting(64, low=0)
    """Earlier generations, spread evenly over the run, with whose fittest novelty compares a child,
    beside the parents."""
    samples: int = setting(128, low=1)
    """Samples of each child that are judged, beside as many real ones (but see `real`)."""
    shared_noise: bool = True
    """Whether all children of a generation are judged on the same noise (the paper: no)."""
    real: Literal["own", "training"] = "own"
    """Real samples for judging: a batch of their own, or the one the discriminator trains on
    next, whose half of the gradient then is computed once for both."""
    race: float = setting(0.0, low=0, below=1)
    """Confidence, above 0.5, at which a child is given up before all its samples are judged; 0: all
    are judged in full."""
    chunks: int = setting(8, low=4)
    """Equal parts of the samples in a race; where a network has batch norm, each part is a batch
    of its own (a ghost batch)."""
    precision: Literal["training", "float32", "bfloat16", "float16"] = "training"
    """In which networks compute while children are judged; `training`: `execution.precision`."""


@dataclass(frozen=True)
class Environment(Settings, group="environment"):
    """The discriminator: its objective and its steps (Adam)."""

    objective: str = "minimax"
    """What the discriminator minimises (`egan list`); diversity is the flatness of the same."""
    smoothing: float = setting(0.0, low=0, below=1)
    """Share a of the real label that is taken away (one-sided label smoothing): the objective's
    real half becomes (1 - a) real(r) + a fake(r); 0: none."""
    steps: int = setting(1, low=1)
    """Steps per generation."""
    batch: int = setting(128, low=1)
    """Real samples per step, and as many fakes, in equal parts from all parents."""
    fakes: Literal["fresh", "judged", "bred"] = "fresh"
    """Fakes from fresh noise; or those on which the survivors were judged (fresh ones where nobody
    is); or those that their parents made in breeding."""
    lr: float = setting(8e-3, above=0)
    """Learning rate."""
    beta1: float = setting(0.5, low=0, below=1)
    """Adam's decay of the gradient's mean."""
    beta2: float = setting(0.9, low=0, below=1)
    """Adam's decay of the gradient's square."""
    penalties: dict[str, float] = setting({"r1": 0.05, "r2": 0.05}, low=0)
    """Weights of penalties by name (`egan list`); 0: none."""
    lazy: int = setting(1, low=1)
    """Steps from one with penalties to the next, where they are this many times as strong."""
    clip: float = setting(0.0, low=0)
    """Bound of the discriminator's weights, which are cut to it at the start and after every step
    (WGAN: 0.01); 0: none."""
    packing: int = setting(1, low=1)
    """Samples, all of one generator or all real, that the discriminator sees side by side and
    judges as one (PacGAN)."""
    noise: float = setting(0.0, low=0)
    """Standard deviation of the noise on every sample that the discriminator sees, in the data's
    units; 0: none."""
    augmentation: Names = Names(())
    """Random changes of every image that the discriminator sees, separated by commas
    (`egan list`)."""
    hall: int = setting(0, low=0)
    """Discriminators of earlier generations that a run keeps, spread evenly over it, to judge too
    (a hall of fame): quality is the mean under today's and under each of them; 0: none."""


@dataclass(frozen=True)
class Execution(Settings, group="execution"):
    """How and where children are bred.

    Engine, threads, device and `channels_last` are fixed when a run starts and change one
    generation's result by rounding only (over many generations selection may then differ), and so
    does `precision`, which rounds more; the others change nothing.
    """

    engine: str = "auto"
    """How a generation is computed (`egan list`); all engines compute the same but for rounding.
    `auto`: `shared` or `batched`, the one that is faster when the run starts, which its config.json
    then names; name one for two runs to be equal bit for bit. `compiled` needs a C++ compiler,
    networks and losses that are functions of tensors alone, and a minute at its first start, in
    every worker process; later ones read PyTorch's cache."""
    executor: str = "serial"
    """`serial`, `processes` (joblib), or `dask` (extra `dask`)."""
    scheduler: str | None = None
    """Address of the scheduler of a Dask cluster, such as tcp://host:8786; default: a cluster of
    worker processes on this machine."""
    workers: int = setting(0, low=0)
    """Worker processes; 0: one a processor core."""
    threads: int = setting(1, low=1)
    """Threads of PyTorch in every process."""
    accumulation: int = setting(1, low=1)
    """Equal parts in which a step's batch is computed, one after the other, its gradient being the
    mean of theirs: for batches that do not fit into memory. Batch norm sees each part by itself."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """In which networks compute while they are trained (automatic mixed precision), for GPUs:
    weights, losses and optimisers keep float32, in which samples are scored and exported."""
    channels_last: bool = False
    """Whether the channels of a pixel lie side by side in memory in weights and maps of
    convolutions: faster on GPUs in few bits, and for some networks on CPUs."""
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
    final_samples: int = setting(10_000, low=2)
    """Samples that are scored at the end."""
    judge: str = "energy-distance"
    """The score by which the best generator is chosen (`egan list`)."""
    features: str = "auto"
    """The feature network by which images are judged (`egan list`), or `package.module:attribute`,
    a module from images to features; `auto`: the classifier of the data, trained once, where they
    have labels that it learns, else one of random weights."""
    distance: str | None = None
    """Distance of pairs of images by which their diversity is judged too (`egan list`), such as
    `lpips`, or `package.module:attribute`, a function of two batches of images; default: none."""
    pictures: int = setting(40, low=1)
    """Pictures in the animation of a run, spread evenly over its generations."""
    tensorboard_every: int = setting(10, low=1)
    """Generations between TensorBoard's scalars."""
    diagnostics_every: int = setting(0, low=0)
    """Generations between diagnostics of variation and selection, which take as long as tens of
    generations and change nothing: whether siblings differ, whether survivors would be the same on
    16 times as many judged samples, whether fitness tells who is closer to the data. 0: none."""


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
        if self.variation.choice == "all" and self.variation.children > 1:
            raise UsageError(
                f"variation.children is {self.variation.children}: with variation.choice = 'all' a "
                "parent has one child by each mutation."
            )
        if self.variation.choice != "all" and self.variation.children > len(
            self.variation.mutations
        ):
            raise UsageError(
                f"variation.children is {self.variation.children}: variation.mutations has only "
                f"{len(self.variation.mutations)} to choose from."
            )
        if self.environment.batch % self.population.mu:
            raise UsageError(
                f"environment.batch is {self.environment.batch}: it must be a multiple of "
                f"population.mu ({self.population.mu}), since every parent gives an equal part."
            )
        if self.environment.fakes == "judged":
            self._check_reused("survivor", "fitness.samples", self.fitness.samples)
        if self.environment.fakes == "bred":
            self._check_reused("parent", "variation.batch", self.variation.batch)
        if self.fitness.quality == "none" and not self.fitness.gamma:
            raise UsageError(
                "fitness.quality is 'none' and fitness.gamma is 0: nothing is left to judge by."
            )
        if self.execution.scheduler is not None and self.execution.executor != "dask":
            raise UsageError(
                f"execution.scheduler is {self.execution.scheduler!r}: it needs "
                "execution.executor = 'dask'."
            )
        if 0 < self.fitness.race <= 0.5:
            raise UsageError(
                f"fitness.race is {self.fitness.race}: it must be 0 or above 0.5 and below 1, the "
                "confidence of a one-sided test."
            )
        if self.fitness.race and self.fitness.samples % self.fitness.chunks:
            raise UsageError(
                f"fitness.samples is {self.fitness.samples}: in a race it must be a multiple of "
                f"fitness.chunks ({self.fitness.chunks})."
            )
        if self.networks.conditional_norm and self.game == "unconditional":
            raise UsageError(
                "networks.conditional_norm is true and the game has no classes: use game = "
                "'conditional', or leave the option out."
            )
        self._check_hall()
        self._check_packing()
        self._check_accumulation()

    def _check_hall(self) -> None:
        if self.environment.hall and self.fitness.race:
            raise UsageError(
                "fitness.race judges by today's discriminator alone: environment.hall must be 0."
            )
        if self.environment.hall and self.fitness.quality == "none":
            raise UsageError(
                "environment.hall keeps discriminators to judge quality, and fitness.quality is "
                "'none': environment.hall must be 0."
            )

    def _check_packing(self) -> None:
        """Every batch is whole packs, and so is every part of it."""
        if self.game == CONDITIONAL and self.environment.packing > 1:
            raise UsageError(
                f"environment.packing is {self.environment.packing}: a conditional game judges "
                "single samples, so that it must be 1."
            )
        chunks = self.fitness.chunks if self.fitness.race else 1
        parts = (
            ("variation.batch", self.variation.batch, 1, ""),
            ("fitness.samples", self.fitness.samples, chunks, f" in each of {chunks} chunks"),
            ("environment.batch", self.environment.batch, self.population.mu, " of each parent"),
        )
        packing = self.environment.packing
        for name, made, count, where in parts:
            if made % (count * packing):
                raise UsageError(
                    f"{name} is {made}: it must be a multiple of {count * packing}, whole packs of "
                    f"{packing} samples (environment.packing){where if count > 1 else ''}."
                )

    def _check_accumulation(self) -> None:
        """Batches fall into equal parts, of whole packs."""
        parts = self.execution.accumulation
        wanted = parts * self.environment.packing
        batches = {
            "variation.batch": self.variation.batch, "environment.batch": self.environment.batch
        }  # fmt: skip
        for name, batch in batches.items():
            if parts > 1 and batch % wanted:
                raise UsageError(
                    f"{name} is {batch}: it must be a multiple of {wanted}, since its gradient is "
                    f"accumulated over {parts} equal parts (execution.accumulation)."
                )

    def _check_reused(self, whose: str, name: str, made: int) -> None:
        """The discriminator reuses fakes: they must be there, and enough."""
        fakes = self.environment.fakes
        wanted = self.environment.batch * self.environment.steps // self.population.mu
        if self.first != "generators":
            raise UsageError(f"environment.fakes is {fakes!r}: it needs first = 'generators'.")
        if wanted > made:
            raise UsageError(
                f"environment.fakes is {fakes!r}: the discriminator reads {wanted} samples of each "
                f"{whose}, and {name} is only {made}."
            )


ADJUSTABLE = (
    "generations", "execution.executor", "execution.workers", "execution.scheduler",
)  # fmt: skip
"""Settings that may change when a run goes on: none of them changes a generation's result."""
