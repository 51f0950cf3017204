"""The library from Python: own networks, own data, callbacks, loading."""

import json

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn
from torch.utils.data import TensorDataset

import egan
from egan.cli import main


class Points(nn.Module):
    """A generator of a user's own, with batch norm."""

    def __init__(self, noise=5):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(noise, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 3)
        )

    def forward(self, noise):
        return self.net(noise)


def critic():
    return nn.Sequential(
        nn.utils.parametrizations.spectral_norm(nn.Linear(3, 8)), nn.ReLU(), nn.Linear(8, 1)
    )


def values():
    return torch.randn(40, 3, generator=torch.Generator().manual_seed(0))


OWN = {"networks": {"noise_dimension": 5}, "generations": 6}


def test_ten_lines_from_a_tensor_to_samples(small):
    rows = []
    run = egan.evolve(
        values(), generator=Points, discriminator=critic, config={**small, **OWN},
        on_generation=lambda state, row: rows.append((state.generation, row)),
    )  # fmt: skip
    assert [generation for generation, _ in rows] == [1, 2, 3, 4, 5, 6]
    assert rows[0][1]["generation"] == 1
    samples = run.sample(64, seed=0)
    assert samples.shape == (64, 3)
    assert samples.dtype == torch.float32
    assert not samples.requires_grad
    assert run.score(100)["energy-distance"] > 0


@pytest.mark.parametrize(
    "make", [lambda x: x, lambda x: x.numpy(), TensorDataset], ids=["tensor", "array", "dataset"]
)
def test_data_may_come_in_any_of_the_usual_forms(small, make):
    ends = [
        egan.evolve(source, config=small, generations=3).state.population[0].weights
        for source in (make(values()), values())
    ]
    assert torch.equal(*ends)


def test_labels_of_a_dataset_are_dropped(small):
    dataset = TensorDataset(values(), torch.arange(40))
    assert egan.evolve(dataset, config=small, generations=2).sample(2).shape == (2, 3)


def test_modules_that_are_passed_stay_as_they_are(small):
    generator, discriminator = Points(), critic()
    before = [
        {key: each.clone() for key, each in module.state_dict().items()}
        for module in (generator, discriminator)
    ]
    egan.evolve(values(), generator=generator, discriminator=discriminator, config={**small, **OWN})
    for module, old in zip((generator, discriminator), before, strict=True):
        torch.testing.assert_close(module.state_dict(), old, rtol=0, atol=0)


def test_parents_made_from_one_module_are_independent_beyond_the_first(small):
    module = Points()
    seen = []
    egan.evolve(
        values(), generator=module, config={**small, **OWN}, generations=1,
        population={"mu": 2, "average": 0.5}, variation={"mutations": ["heuristic"], "lr": 1e-9},
        on_generation=lambda state, row: seen.append([one.weights for one in state.population]),
    )  # fmt: skip
    vector = nn.utils.parameters_to_vector(module.parameters()).detach()
    first, second = seen[0]
    torch.testing.assert_close(first, vector, rtol=0, atol=1e-6)
    assert float((second - vector).abs().max()) > 0.1


def test_threads_are_the_callers_again_after_a_run(small):
    torch.set_num_threads(2)
    egan.evolve(config=small, on_generation=lambda state, row: torch.get_num_threads() != 1)
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)


def test_a_callable_loss_and_selection_are_as_good_as_a_name(small):
    def steep(logits):
        """A loss of a user's own."""
        return 3 * torch.nn.functional.softplus(-logits).mean()

    def worst(children, count):
        """A selection of a user's own."""
        return sorted(children, key=lambda child: child.total)[:count]

    winners = []
    egan.evolve(
        config=small, variation={"mutations": [steep, "minimax"]}, population={"selection": worst},
        on_generation=lambda state, row: winners.append(row),
    )  # fmt: skip
    for row in winners:
        total = min(each["total"] for each in row["offspring"].values())
        assert row["fitness"]["total"] == total
    assert any("steep" in name for name in winners[0]["selection"])


def test_true_from_the_callback_ends_the_run(small):
    run = egan.evolve(config=small, on_generation=lambda state, row: state.generation == 2)
    assert run.state.generation == 2


def test_what_is_loaded_samples_like_what_was_evolved(small, tmp_path):
    run = egan.evolve("grid", config=small, run=tmp_path / "r", networks={"name": "pacgan"})
    loaded = egan.load(tmp_path / "r")
    samples = loaded.sample(64, seed=0)
    assert samples.shape == (64, 2)
    assert samples.dtype == torch.float32
    assert not samples.requires_grad
    assert torch.equal(samples, run.sample(64, seed=0))
    assert torch.equal(samples, loaded.sample(64, seed=0))
    assert not torch.equal(samples, loaded.sample(64, seed=1))
    assert egan.load(tmp_path / "r", which="best").sample(3).shape == (3, 2)


def test_the_exported_file_is_a_plain_state_dict(small, tmp_path):
    egan.evolve(
        values(), generator=Points, discriminator=critic, config={**small, **OWN}, run=tmp_path
    )
    module = Points()
    module.load_state_dict(safetensors.torch.load_file(tmp_path / "generator.safetensors"))
    module.eval()
    assert module(torch.randn(4, 5)).shape == (4, 3)


def test_a_generator_that_cannot_be_imported_is_passed_again(small, tmp_path):
    egan.evolve(values(), generator=Points(5), config={**small, **OWN}, run=tmp_path)
    assert egan.load(tmp_path, generator=Points(5)).sample(2).shape == (2, 3)


def test_other_data_than_the_runs_are_named(small, tmp_path):
    egan.evolve(values(), config=small, run=tmp_path)
    assert egan.evolve(values(), config=small, run=tmp_path).state.generation == 12
    with pytest.raises(egan.UsageError, match=r"has other settings, data \(python Tensor"):
        egan.evolve(values() + 1, config=small, run=tmp_path)


def test_a_run_on_data_from_python_says_so_on_the_command_line(small, tmp_path, capsys):
    egan.evolve(values(), config=small, run=tmp_path)
    assert main(["resume", str(tmp_path)]) == 2
    assert capsys.readouterr().err.endswith("pass them to egan.evolve again.\n")
    assert main(["sample", str(tmp_path), "--out", str(tmp_path / "a.npy")]) == 0


def test_a_run_in_memory_equals_one_on_disk(small, tmp_path):
    memory = egan.evolve(config=small)
    disk = egan.evolve(config=small, run=tmp_path)
    assert torch.equal(memory.sample(10), disk.sample(10))


def test_own_networks_evolve_in_processes(small):
    settings = {**small, **OWN, "population": {"mu": 2}}
    serial = egan.evolve(values(), generator=Points, discriminator=critic, config=settings)
    processes = egan.evolve(
        values(), generator=Points, discriminator=critic, config=settings,
        execution={"executor": "processes", "workers": 2},
    )  # fmt: skip
    assert torch.equal(serial.sample(5), processes.sample(5))


def test_networks_that_cannot_travel_say_so(small):
    with pytest.raises(egan.UsageError, match="cannot be sent to worker processes"):
        egan.evolve(
            values(), generator=Points(), discriminator=critic(), config={**small, **OWN},
            execution={"executor": "processes", "workers": 2},
        )  # fmt: skip


def test_a_configuration_can_be_made_changed_and_passed(small, tmp_path):
    config = egan.configure(small, {"seed": 3})
    run = egan.evolve(config=config, run=tmp_path, generations=3)
    assert (run.config.seed, run.config.generations, run.config.data) == (3, 3, "ring")
    assert json.loads((tmp_path / "config.json").read_text())["seed"] == 3


def test_data_are_an_object_with_name_shape_and_draw(small):
    class Line:
        name, shape = "line", (2,)

        def draw(self, count, generator):
            x = torch.rand(count, 1, generator=generator)
            return torch.cat([x, x], dim=1)

    run = egan.evolve(Line(), config=small, generations=2)
    assert run.sample(5).shape == (5, 2)
    assert np.isfinite(list(run.score(50).values())).all()


def test_a_study_is_compared_from_python_and_goes_on(tmp_path):
    small = {"variation": {"batch": 16}, "environment": {"batch": 16}, "fitness": {"samples": 16}}
    asked = {"budget": "generations=4", "looks": 2, "samples": 50, "jobs": 1}
    found = egan.compare(tmp_path, "ring", ["egan", "gan"], seeds=1, **asked, **small)
    assert [(cell["arm"], cell["seed"]) for cell in found.cells] == [("egan", 0), ("gan", 0)]
    assert found.study.common == small
    more = egan.compare(tmp_path, seeds=[4], jobs=1)
    assert [cell["seed"] for cell in more.cells] == [0, 0, 4, 4]
    assert "| gan | 2 |" in more.table()
    with pytest.raises(egan.UsageError, match="unknown arm 'gann'"):
        egan.compare(tmp_path, arms=["gann"])
