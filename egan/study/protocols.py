"""Protocols: published experiments by name, with what they found.

A protocol says which data, networks, optimisers, lengths and samples a study has, where nothing
else is asked for; its published figures stand beside the study's own (`study.calibration`). What
differs from the original is said in its text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from egan.settings import merge
from egan.study.arms import Arm
from populations.registry import lookup

Figure = tuple[float, float | None]
"""A published mean, and its standard error where one was published."""


@dataclass(frozen=True)
class Protocol:
    """A published experiment.

    Attributes:
        text: one line on it.
        source: paper and table.
        data: names of the data sets.
        arms: the methods that were compared.
        seeds: runs of each.
        generations: of each, one step of the discriminator in each.
        samples: on which scores are taken.
        primary: the score by which arms are compared.
        settings: of all arms.
        batch: samples of a step, or packs of them; 0: whatever the settings say.
        published: by arm, by score.
        runs: over which the published means were taken.
    """

    text: str
    source: str
    data: tuple[str, ...]
    arms: tuple[str, ...]
    seeds: int
    generations: int
    samples: int
    primary: str
    settings: Mapping[str, Any]
    batch: int = 0
    published: Mapping[str, Mapping[str, Figure]] = field(default_factory=dict)
    runs: int = 0

    def tailor(self, arm: Arm) -> Arm:
        """The arm with batches of so many packs, as they were published; ours count samples."""
        packing = arm.settings.get("environment", {}).get("packing", 1)
        if not self.batch or packing == 1:
            return arm
        count = {"batch": packing * self.batch}
        packs = {"variation": count, "environment": count, "fitness": {"samples": count["batch"]}}
        return replace(arm, settings=merge(packs, arm.settings))


PLAIN: dict[str, Any] = {
    "lr_final": 1.0,
    "population": {"average": 0.0},
    "environment": {"penalties": {"r1": 0.0, "r2": 0.0}},
}
"""No aid that was not there: no penalties, no average, rates that stay."""


def _adam(kind: str, batch: int, lr: float, beta1: float, beta2: float) -> dict[str, Any]:
    return {kind: {"batch": batch, "lr": lr, "beta1": beta1, "beta2": beta2}}


def _settings(*layers: Mapping[str, Any]) -> dict[str, Any]:
    return merge(PLAIN, *layers)


PACKED = ("gan", "pacgan-2", "gan[packing=3]", "pacgan-4")
UNROLLED = (*PACKED, "unrolled-5")


def _rows(
    arms: tuple[str, ...], scores: tuple[str, ...], *rows: tuple[Figure, ...]
) -> dict[str, dict[str, Figure]]:
    """Published figures, a row an arm and a column a score."""
    return {arm: dict(zip(scores, row, strict=True)) for arm, row in zip(arms, rows, strict=True)}


_TOY_SCORES = ("modes-lenient", "high-quality", "reverse-kl")
_TOY = _settings(
    # Both networks step at once: fakes are those that the generator was bred on.
    {"first": "generators", "environment": {"fakes": "bred"}},
    {
        "networks": {
            "name": "pacgan",
            "noise": "normal",
            "noise_dimension": 2,
            "initial_deviation": 0.02,
        }
    },
    _adam("variation", 100, 1e-4, 0.8, 0.999),
    _adam("environment", 100, 1e-4, 0.8, 0.999),
)
_STACKED_SCORES = ("modes", "reverse-kl")
_UNROLLED = _settings(
    {"first": "environment", "networks": {"noise": "normal", "noise_dimension": 256}},
    _adam("variation", 128, 1e-4, 0.5, 0.99),
    _adam("environment", 128, 2e-4, 0.5, 0.99),
)


def _pacgan_toy(data: str, where: str, *rows: tuple[Figure, ...]) -> Protocol:
    return Protocol(
        text=f"GAN and PacGAN on {where}: 400 passes over 100,000 points, here drawn anew.",
        source="Lin et al. (2018), PacGAN, Table 1 and its code",
        data=(data,),
        arms=PACKED,
        seeds=10,
        generations=400_000,
        samples=2_500,
        primary="reverse-kl",
        settings=_TOY,
        batch=100,
        published=_rows(PACKED, _TOY_SCORES, *rows),
        runs=10,
    )


def _unrolled_stacked(share: str, *rows: tuple[Figure, ...]) -> Protocol:
    return Protocol(
        text=f"GANs on stacked MNIST, 28x28, the discriminator {share} as wide as the generator.",
        source="Lin et al. (2018), PacGAN, Table 3 and its code; unrolled: Metz et al. (2017)",
        data=("stacked-mnist",),
        arms=UNROLLED,
        seeds=50,
        generations=500_000,
        samples=25_600,
        primary="reverse-kl",
        settings=_settings(_UNROLLED, {"networks": {"name": f"unrolled-{share}"}}),
        batch=128,
        published=_rows(UNROLLED, _STACKED_SCORES, *rows),
        runs=50,
    )


protocols: dict[str, Protocol] = {
    "pacgan-ring": _pacgan_toy(
        "ring-pacgan",
        "8 Gaussians on a circle",
        ((6.3, 0.5), (0.982, 0.002), (0.45, 0.09)),
        ((7.9, 0.1), (0.956, 0.020), (0.07, 0.03)),
        ((7.8, 0.1), (0.977, 0.003), (0.10, 0.02)),
        ((7.8, 0.1), (0.959, 0.014), (0.07, 0.02)),
    ),
    "pacgan-grid": _pacgan_toy(
        "grid-pacgan",
        "25 Gaussians on a grid",
        ((17.3, 0.8), (0.948, 0.007), (0.70, 0.07)),
        ((23.8, 0.7), (0.913, 0.008), (0.13, 0.04)),
        ((24.6, 0.4), (0.942, 0.004), (0.06, 0.02)),
        ((24.8, 0.2), (0.936, 0.006), (0.04, 0.01)),
    ),
    "veegan-stacked": Protocol(
        text="DCGAN and PacDCGAN on stacked MNIST: 50 passes over 128,000 fixed triples, here in "
        "[-1, 1]; two steps of the generator a generation, here on fresh noise each.",
        source="Srivastava et al. (2017), VEEGAN; Lin et al. (2018), PacGAN, Table 2 and its code",
        data=("stacked-mnist-veegan",),
        arms=PACKED,
        seeds=10,
        generations=100_000,
        samples=26_000,
        primary="reverse-kl",
        settings=_settings(
            {"first": "environment", "variation": {"steps": 2}},
            {"networks": {"name": "dcgan", "noise": "uniform", "noise_dimension": 100}},
            _adam("variation", 64, 2e-4, 0.5, 0.999),
            _adam("environment", 64, 2e-4, 0.5, 0.999),
        ),
        batch=64,
        published=_rows(
            PACKED,
            _STACKED_SCORES,
            ((78.9, 6.46), (4.50, 0.127)),
            ((1000.0, 0.0), (0.06, 0.003)),
            ((1000.0, 0.0), (0.06, 0.003)),
            ((1000.0, 0.0), (0.07, 0.005)),
        ),
        runs=10,
    ),
    "unrolled-stacked-1/4": _unrolled_stacked(
        "1/4",
        ((78.5, 17.56), (5.21, 0.19)),
        ((484.5, None), (2.61, None)),
        ((601.3, None), (2.00, None)),
        ((667.4, None), (1.81, None)),
        ((236.4, None), (4.67, None)),
    ),
    "unrolled-stacked-1/2": _unrolled_stacked(
        "1/2",
        ((487.7, 34.59), (2.24, 0.15)),
        ((840.7, None), (1.00, None)),
        ((866.6, None), (0.90, None)),
        ((820.2, None), (1.15, None)),
        ((732.0, None), (1.66, None)),
    ),
    "egan-toy": Protocol(
        text="E-GAN and its mutations alone on the toys of its code (published as plots only).",
        source="Wang et al. (2018), section IV-A, and its Theano code",
        data=("ring", "grid"),
        arms=("egan", "random-selection", "gan", "minimax-alone", "least-squares-alone"),
        seeds=10,
        generations=100_000,
        samples=10_000,
        primary="energy-distance",
        settings={"preset": "released-theano"},
    ),
}


def protocol_of(name: str) -> Protocol:
    """The protocol of that name.

    Raises:
        UsageError: there is none.
    """
    found: Protocol = lookup("protocol", name, protocols)
    return found
