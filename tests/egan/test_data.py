"""Data are what they say: centres, spreads, shapes; what cannot be used is refused in words."""

import math
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from egan.data import (
    Curve,
    Mixture,
    Stacked,
    Table,
    data_sets,
    describe,
    fingerprint,
    has_option,
    make_data,
    near,
)
from populations.errors import UsageError
from populations.randomness import generator

# These need a download or files of their own; their loading is tested elsewhere.
OFFLINE = [name for name in data_sets if name != "hub" and not has_option(name, "data_dir")]
MIXTURES = [name for name in OFFLINE if isinstance(make_data(name), Mixture)]


def keyed(index=0):
    return generator(0, 0, "test", index)


def refusal(source, options=None):
    with pytest.raises(UsageError) as error:
        make_data(source, options)
    return str(error.value)


class Pairs(torch.utils.data.Dataset):
    """A map-style data set of samples and labels."""

    def __init__(self, samples):
        self.samples = samples

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        return self.samples[index], index % 2


class Stream(torch.utils.data.IterableDataset):
    """A data set without a length."""

    def __iter__(self):
        return iter([torch.zeros(2)])


class Circle:
    """Data of one's own: a name, a shape and a way to draw."""

    name = "circle"
    shape = (2,)

    def draw(self, count, generator):
        return torch.nn.functional.normalize(torch.randn(count, 2, generator=generator))


@pytest.mark.parametrize("name", OFFLINE)
def test_data_draw_finite_samples_of_their_shape(name):
    data = make_data(name)
    samples = data.draw(7, keyed())
    assert isinstance(data, Mixture | Curve | Table | Stacked)
    assert samples.shape == (7, *data.shape)
    assert samples.dtype == torch.float32
    assert samples.device.type == "cpu"
    assert torch.isfinite(samples).all()
    assert data.name


@pytest.mark.parametrize("name", OFFLINE)
def test_equal_keys_draw_equal_samples_and_others_do_not(name):
    left, right = make_data(name), make_data(name)
    first = left.draw(9, keyed())
    assert torch.equal(first, right.draw(9, keyed()))
    assert not torch.equal(first, left.draw(9, keyed(1)))


@pytest.mark.parametrize("name", OFFLINE)
def test_drawing_leaves_the_global_generators_alone(name):
    before = torch.get_rng_state()
    make_data(name).draw(5, keyed())
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", OFFLINE)
def test_a_data_set_is_called_as_in_its_own_options(name):
    assert name.startswith(make_data(name).name)


@pytest.mark.parametrize("name", MIXTURES)
def test_a_mixture_has_distinct_modes_whose_weights_sum_to_one(name):
    mixture = make_data(name)
    assert mixture.weights.shape == mixture.centres.shape[:1]
    assert (mixture.weights > 0).all()
    assert mixture.weights.sum().item() == pytest.approx(1, abs=1e-6)
    distances = torch.cdist(mixture.centres, mixture.centres).fill_diagonal_(math.inf)
    assert distances.min() > 2 * mixture.radius


@pytest.mark.parametrize("name", MIXTURES)
def test_every_mode_has_its_weight_its_centre_and_its_deviation_in_samples(name):
    mixture, count = make_data(name), 20_000
    samples = mixture.draw(count, keyed())
    nearest = torch.cdist(samples, mixture.centres).argmin(1)
    for mode, (centre, weight) in enumerate(zip(mixture.centres, mixture.weights, strict=True)):
        own = samples[nearest == mode]
        share = weight.item()
        assert abs(len(own) / count - share) < 5 * math.sqrt(share * (1 - share) / count)
        error = mixture.deviation / math.sqrt(len(own))
        assert (own.mean(0) - centre).abs().max() < 5 * error
        # The relative error of a deviation from n numbers is 1 / sqrt(2 n).
        numbers = len(own) * mixture.inner_dimensions
        found = math.sqrt((own - centre).double().square().sum().item() / numbers)
        assert found == pytest.approx(mixture.deviation, rel=5 / math.sqrt(2 * numbers))


def test_the_ring_is_the_released_toys():
    ring = make_data("ring")
    assert ring.centres.shape == (8, 2)
    for place, centre in enumerate(ring.centres.tolist()):
        angle = place * math.pi / 4
        radius = 2 / 1.414
        assert centre == pytest.approx(
            [radius * math.cos(angle), radius * math.sin(angle)], 1e-6, 1e-6
        )
    assert ring.deviation == pytest.approx(0.02 / 1.414, rel=1e-12)
    assert ring.weights.tolist() == [1 / 8] * 8


def test_the_grid_is_the_released_toys():
    grid = make_data("grid")
    expected = {(x, y) for x in range(-2, 3) for y in range(-2, 3)}
    found = (grid.centres / (2 / 2.828)).tolist()
    assert {(round(x), round(y)) for x, y in found} == expected
    assert len(found) == 25
    assert all(abs(each - round(each)) < 1e-5 for centre in found for each in centre)
    assert grid.deviation == pytest.approx(0.05 / 2.828, rel=1e-12)


@pytest.mark.parametrize(
    ("name", "size", "deviation"), [("ring-pacgan", 1.0, 0.01), ("grid-pacgan", 4.0, 0.05)]
)
def test_pacgans_toys_are_at_its_scale(name, size, deviation):
    mixture = make_data(name)
    assert mixture.centres.abs().max().item() == pytest.approx(size, rel=1e-6)
    assert mixture.deviation == deviation


def test_the_random_mixture_has_unequal_weights_of_the_ratio_asked_for():
    weights = make_data("random", {"ratio": 9, "modes": 5}).weights
    assert len(set(weights.tolist())) == 5
    assert (weights.max() / weights.min()).item() == pytest.approx(9, rel=1e-5)
    assert weights.sum().item() == pytest.approx(1, abs=1e-6)
    steps = weights[1:] / weights[:-1]
    assert torch.allclose(steps, steps[0].expand(4))


def test_random_centres_keep_their_distance_and_depend_on_the_seed():
    first, second = (make_data("random", {"seed": seed}) for seed in (0, 1))
    distances = torch.cdist(first.centres, first.centres).fill_diagonal_(math.inf)
    assert distances.min() > 12 * first.deviation
    assert first.centres.abs().max() <= 1.5
    assert not torch.equal(first.centres, second.centres)


def test_too_many_modes_do_not_fit():
    message = refusal("random", {"modes": 5, "deviation": 0.5})
    assert message == "5 modes of deviation 0.5 do not fit into the square."


def test_random_64d_has_64_dimensions():
    assert make_data("random-64d").shape == (64,)


@pytest.mark.parametrize("name", MIXTURES)
def test_the_radius_of_a_mode_holds_the_same_share_in_any_dimension(name):
    mixture = make_data(name)
    inner = mixture.inner_dimensions
    noise = torch.randn(20_000, inner, generator=keyed()) * mixture.deviation
    share = (noise.norm(dim=1) <= mixture.radius).double().mean().item()
    # 1 - exp(-4.5) = 0.98889, standard error 0.00074.
    assert share == pytest.approx(0.98889, abs=0.004)


def test_the_modes_of_the_1200_dimensional_mixture_spread_in_700():
    mixture = make_data("veegan-1200d")
    assert mixture.centres.shape == (10, 1200)
    assert mixture.weights.tolist() == pytest.approx([0.1] * 10)
    columns = mixture.embedding.double()
    assert columns.shape == (1200, 700)
    assert torch.allclose(columns.T @ columns, torch.eye(700, dtype=torch.float64), atol=1e-6)
    samples = mixture.draw(300, keyed())
    nearest = mixture.centres[torch.cdist(samples, mixture.centres).argmin(1)]
    for each in (mixture.centres.double(), (samples - nearest).double()):
        # Nothing is left of what projects onto the 700 dimensions.
        torch.testing.assert_close(each @ columns @ columns.T, each, rtol=0, atol=1e-5)
    # A chi of 700 degrees of freedom: 10 deviations are far below its mean.
    distances = (samples - nearest).norm(dim=1) / mixture.deviation
    assert distances.mean().item() == pytest.approx(26.45, abs=0.2)
    assert distances.std().item() == pytest.approx(0.707, abs=0.15)
    assert mixture.radius / mixture.deviation == pytest.approx(28.1, abs=0.05)
    assert mixture.box == 10


def test_the_1200_dimensional_mixture_depends_on_its_seed():
    first, second = (make_data("veegan-1200d", {"seed": seed}) for seed in (0, 1))
    assert not torch.allclose(first.centres, second.centres)
    assert not torch.allclose(first.embedding, second.embedding)


def stacked(count, triples=None):
    """Stacked images of 2x2 pixels, each filled with its place in the pool."""
    pool = torch.arange(count, dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 2, 2)
    labels = torch.arange(count) % 2
    return Stacked("own", pool, Table("places", pool, labels), triples)


def places(samples):
    """The pool's places that the channels were drawn from."""
    assert samples.shape[1:] == (3, 2, 2)
    pixels = ((samples + 1) * 127.5).round()
    assert torch.equal(pixels, pixels[:, :, :1, :1].expand_as(pixels))
    return pixels[:, :, 0, 0].long()


def test_the_channels_of_stacked_images_are_drawn_each_for_itself():
    data = stacked(5)
    drawn = places(data.draw(6000, keyed()))
    triples = drawn @ torch.tensor([25, 5, 1])
    # Each of 125 triples 48 times, standard deviation 6.9.
    counts = torch.bincount(triples, minlength=125)
    assert 48 - 35 < counts.min() <= counts.max() < 48 + 35
    assert data.shape == (3, 2, 2)
    assert data.weights.tolist() == [1 / 8] * 8  # two classes in three channels


def test_fixed_triples_are_the_samples_and_no_others_are():
    triples = torch.tensor([[0, 1, 2], [3, 3, 4], [200, 0, 255]])
    drawn = places(stacked(256, triples).draw(300, keyed()))
    found, counts = drawn.unique(dim=0, return_counts=True)
    assert found.tolist() == sorted(triples.tolist())
    assert counts.min() > 60


def test_stacked_digits_are_the_digits_in_three_channels():
    data, digits = make_data("stacked-digits"), make_data("digits")
    assert data.shape == (3, 8, 8)
    assert len(data.weights) == 1000
    known = {each.numpy().tobytes() for each in digits.values}
    samples = data.draw(40, keyed())
    assert all(channel.numpy().tobytes() in known for image in samples for channel in image)


def test_pixels_are_drawn_from_minus_one_to_one():
    pixels = torch.tensor([0, 51, 255], dtype=torch.uint8)[:, None]
    drawn = Table("own", pixels).draw(60, keyed())
    assert drawn.dtype == torch.float32
    assert sorted(set(drawn[:, 0].tolist())) == pytest.approx([-1.0, -0.6, 1.0])


def test_the_spiral_is_evenly_filled_along_its_length():
    spiral = make_data("spiral", {"turns": 3, "deviation": 0})
    points = spiral.draw(20_000, keyed()).double()
    radius = points.norm(dim=1) / 1.5
    # Along an Archimedean spiral the length grows with the square of the radius.
    share = torch.tensor([0.25, 0.5, 0.75, 1.0], dtype=torch.float64)
    assert (radius.square().quantile(share) - share).abs().max() < 0.02
    turned = torch.atan2(points[:, 1], points[:, 0]) - 2 * math.pi * 3 * radius
    assert torch.cos(turned).min() > 0.999


def test_the_swiss_roll_is_a_sheet_that_is_rolled_up():
    points = make_data("swiss-roll", {"deviation": 0}).draw(20_000, keyed()).double()
    angle = 10 * points[:, :2].norm(dim=1)
    assert angle.min() >= 1.5 * math.pi - 1e-3
    assert angle.max() <= 4.5 * math.pi + 1e-3
    assert torch.cos(torch.atan2(points[:, 1], points[:, 0]) - angle).min() > 0.999
    assert points[:, 2].abs().max() <= 1
    assert points[:, 2].square().mean().item() == pytest.approx(1 / 3, abs=0.01)


@pytest.mark.parametrize("name", ["spiral", "swiss-roll"])
def test_the_noise_around_a_curve_has_the_deviation_asked_for(name):
    bare, noisy = (make_data(name, {"deviation": each}).draw(5000, keyed()) for each in (0, 0.5))
    assert (noisy - bare).std().item() == pytest.approx(0.5, rel=0.03)


def test_digits_are_1797_grey_images_with_labels():
    digits = make_data("digits")
    assert digits.values.shape == (1797, 1, 8, 8)
    assert digits.shape == (1, 8, 8)
    assert digits.values.dtype == torch.float32
    assert (digits.values.min().item(), digits.values.max().item()) == (-1.0, 1.0)
    assert digits.labels.shape == (1797,)
    assert digits.labels.dtype == torch.int64
    assert set(digits.labels.tolist()) == set(range(10))


def test_a_table_is_drawn_uniformly_with_replacement():
    table = Table("own", torch.tensor([[0.0], [1.0], [2.0]]))
    drawn = table.draw(3000, keyed())[:, 0].long()
    # Each 1000 times, standard deviation 26.
    assert all(870 < count < 1130 for count in torch.bincount(drawn, minlength=3).tolist())


SAMPLES = np.array([[0.5, -1.0, 2.0], [3.0, 4.5, -5.0]])
WRITERS = {
    ".npy": np.save,
    ".npz": lambda path, values: np.savez(path, samples=values),
    ".pt": lambda path, values: torch.save(torch.tensor(values), path),
    ".csv": lambda path, values: np.savetxt(path, values, delimiter=","),
}


@pytest.mark.parametrize("ending", WRITERS)
def test_files_of_each_kind_are_read(ending, tmp_path):
    path = tmp_path / f"points{ending}"
    WRITERS[ending](path, SAMPLES)
    data = make_data(str(path))
    assert (data.name, data.shape) == ("points", (3,))
    assert data.values.dtype == torch.float32
    assert data.values.tolist() == SAMPLES.tolist()


@pytest.mark.parametrize("ending", [".npy", ".npz", ".pt"])
def test_files_of_images_keep_their_shape(ending, tmp_path):
    path = tmp_path / f"images{ending}"
    WRITERS[ending](path, np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5))
    assert make_data(str(path)).shape == (3, 4, 5)


def test_a_file_in_the_working_directory_needs_no_folder(tmp_path, monkeypatch):
    np.save(tmp_path / "points.npy", SAMPLES)
    monkeypatch.chdir(tmp_path)
    assert make_data("points.npy").values.tolist() == SAMPLES.tolist()


def test_single_numbers_become_samples_of_one_dimension(tmp_path):
    np.save(tmp_path / "line.npy", np.array([1.0, 2.0, 3.0]))
    assert make_data(str(tmp_path / "line.npy")).values.tolist() == [[1.0], [2.0], [3.0]]


def test_a_missing_file_is_named(tmp_path):
    path = tmp_path / "missing.npy"
    assert refusal(str(path)) == f"the data file {path} does not exist."


def test_a_file_of_another_kind_is_refused_with_the_kinds_that_can_be_read(tmp_path):
    path = tmp_path / "points.txt"
    path.write_text("1,2\n")
    assert refusal(str(path)) == (f"the data file {path} must end in one of .npy, .npz, .pt, .csv.")


@pytest.mark.parametrize("ending", WRITERS)
def test_an_unreadable_file_is_named_with_the_reason(ending, tmp_path):
    path = tmp_path / f"points{ending}"
    path.write_bytes(b"these are words, no numbers")
    message = refusal(str(path))
    start = f"the data file {path} cannot be read: "
    assert message.startswith(start)
    assert len(message) > len(start) + 5
    assert message.endswith(".")
    assert "\n" not in message


@pytest.mark.parametrize("ending", WRITERS)
def test_an_empty_file_is_named(ending, tmp_path):
    path = tmp_path / f"points{ending}"
    WRITERS[ending](path, np.zeros((0, 2)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy warns of a csv without lines
        assert refusal(str(path)) == f"{path} is empty: it must hold at least one sample."


@pytest.mark.parametrize("ending", WRITERS)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_values_that_are_not_finite_are_counted_by_sample(ending, bad, tmp_path):
    path = tmp_path / f"points{ending}"
    WRITERS[ending](path, np.array([[1.0, bad], [bad, bad], [1.0, 2.0]]))
    assert refusal(str(path)) == f"{path} has NaN or infinite values in 2 of 3 samples."


def test_a_file_that_holds_no_tensor_says_what_it_holds(tmp_path):
    path = tmp_path / "weights.pt"
    torch.save({"weights": torch.zeros(3)}, path)
    assert refusal(str(path)) == f"{path} holds a dict: it must hold one tensor or array."


def test_values_that_are_no_numbers_are_refused():
    assert refusal(np.array(["one", "two"])) == "the data holds values that are not numbers."


def test_reading_a_file_runs_no_code(tmp_path):
    target = tmp_path / "written"

    class Spy:
        def __reduce__(self):
            return open, (str(target), "w")

    torch.save(Spy(), tmp_path / "spy.pt")
    np.save(tmp_path / "spy.npy", np.array([Spy()], dtype=object), allow_pickle=True)
    target.unlink(missing_ok=True)
    for name in ("spy.pt", "spy.npy"):
        assert "cannot be read" in refusal(str(tmp_path / name))
    assert not target.exists()


@pytest.mark.parametrize("values", [SAMPLES, torch.tensor(SAMPLES), torch.tensor(SAMPLES).int()])
def test_tensors_and_arrays_become_tables(values):
    data = make_data(values)
    assert isinstance(data, Table)
    assert data.values.dtype == torch.float32
    assert torch.equal(data.values, torch.as_tensor(values).float())


def test_a_tensor_with_a_graph_is_detached():
    assert not make_data(torch.ones(3, 2, requires_grad=True)).values.requires_grad


@pytest.mark.parametrize(
    "dataset",
    [
        Pairs(torch.tensor(SAMPLES)),
        Pairs(SAMPLES),
        torch.utils.data.TensorDataset(torch.tensor(SAMPLES), torch.tensor([1, 0])),
        torch.utils.data.TensorDataset(torch.tensor(SAMPLES)),
    ],
)
def test_a_dataset_is_read_once_and_its_labels_are_dropped(dataset):
    data = make_data(dataset)
    assert data.values.tolist() == SAMPLES.tolist()
    assert data.labels is None


def test_a_dataset_without_a_length_is_refused():
    assert refusal(Stream()) == "the data set has no length: pass a map-style torch Dataset."


def test_an_empty_dataset_is_refused():
    message = "the data set is empty: it must hold at least one sample."
    assert refusal(Pairs(torch.zeros(0, 2))) == message


@pytest.mark.parametrize("samples", [[[1.0], [1.0, 2.0]], [{"x": 1.0}], ["one", "two"]])
def test_a_dataset_whose_samples_do_not_stack_is_refused(samples):
    assert refusal(Pairs(samples)).startswith("the data set ")


def test_an_object_with_name_shape_and_draw_is_data_already():
    own = Circle()
    assert make_data(own) is own
    assert make_data(Circle).shape == (2,)
    assert isinstance(make_data(f"{data_sets['ring'].__module__}:ring"), Mixture)


def test_what_cannot_be_data_is_named_by_its_type():
    assert refusal(5) == (
        "the data are of type int: they must be a name, a file, a tensor, an array, "
        "a torch Dataset, or an object with name, shape and draw."
    )


def test_an_unknown_data_set_is_answered_with_the_nearest():
    message = refusal("rign")
    assert message.startswith("unknown data set 'rign': did you mean 'ring'?")
    assert "swiss-roll" in message


def test_options_reach_the_data_set():
    ring = make_data("ring", {"modes": 5, "radius": 3})
    assert ring.centres.shape == (5, 2)
    assert ring.centres.norm(dim=1).tolist() == pytest.approx([3.0] * 5)


def test_an_unknown_option_is_answered_with_the_nearest():
    assert refusal("ring", {"mode": 5}) == (
        "unknown option of ring 'mode': did you mean 'modes'? valid are deviation, modes, radius."
    )


def test_a_data_set_without_options_says_so():
    assert refusal("ring-pacgan", {"modes": 5}) == (
        "the data set ring-pacgan has no options, and modes was given."
    )


@pytest.mark.parametrize("value", ["5", True, -1, None, math.nan, math.inf, 0, 2.5])
def test_an_option_that_makes_no_sense_is_refused_by_name(value):
    assert refusal("ring", {"modes": value}).startswith(f"data_options.modes is {value!r}: it must")


@pytest.mark.parametrize("value", ["5", True, -1.0, None, math.nan, math.inf])
def test_an_option_that_is_no_size_is_refused_by_name(value):
    message = refusal("ring", {"radius": value})
    assert message.startswith(f"data_options.radius is {value!r}: it must")


@pytest.mark.parametrize("ratio", [0, 0.5])
def test_a_ratio_of_weights_below_one_is_refused(ratio):
    assert "ratio" in refusal("random", {"ratio": ratio})


def test_a_seed_of_zero_is_allowed():
    assert torch.equal(make_data("random", {"seed": 0}).centres, make_data("random").centres)


def test_data_from_python_are_described_by_their_values():
    first, equal, other = torch.ones(3, 2), np.ones((3, 2)), torch.zeros(3, 2)
    assert describe(first) == describe(first.clone())
    assert describe(first) != describe(other)
    assert describe(equal).startswith("python ndarray ")
    assert describe("ring") == "ring"
    assert describe(Circle) == f"{__name__}:Circle"


class Elsewhere(torch.Tensor):
    """Values that tell where they were moved."""

    def to(self, device):
        return ("moved", device)


@pytest.mark.parametrize(("free", "moves"), [(24, True), (23, False)])
def test_a_table_lies_on_the_gpu_where_it_fills_at_most_half_of_its_memory(
    monkeypatch, free, moves
):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 100))
    table = Table("own", torch.zeros(3, 1).as_subclass(Elsewhere))  # of 12 bytes
    gpu = torch.device("cuda:1")
    found = near(table, gpu)
    assert found.device == gpu
    assert found.values == ("moved", gpu) if moves else found.values is table.values
    assert near(table, torch.device("cpu")) is table
    ring = make_data("ring")
    assert near(ring, gpu) is ring


def test_pixels_travel_as_bytes_and_become_numbers_where_they_arrive():
    pixels = torch.arange(20 * 12, dtype=torch.uint8).view(20, 1, 3, 4)
    table = Table("own", pixels, flip=True)
    far = replace(table, device=torch.device("meta"))
    travelled: list[torch.dtype] = []

    class Road(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, given=(), named=None):
            made = function(*given, **(named or {}))
            if function.overloadpacket is torch.ops.aten._to_copy and made.device.type == "meta":
                travelled.append(made.dtype)
            return made

    with Road():
        drawn = far.take(torch.arange(9), keyed())
    assert drawn.device.type == "meta"
    assert drawn.shape == table.draw(9, keyed()).shape
    assert travelled[0] == torch.uint8


def test_a_table_is_known_again_by_its_samples_and_their_labels():
    values, labels = (torch.arange(300) % 250).byte()[:, None], torch.arange(300) % 3
    known = fingerprint(Table("own", values, labels))
    assert known == fingerprint(Table("other", values.clone(), labels.clone()))
    others = [
        Table("own", values + 1, labels), Table("own", values, 2 - labels), Table("own", values),
        Table("own", values[:-1], labels[:-1]), Table("own", values.flip(0), labels),
    ]  # fmt: skip
    assert len({known, *map(fingerprint, others)}) == 6
    assert fingerprint(Stacked("stack", values, Table("own", values, labels))) == known
    assert fingerprint(make_data("ring")) == ""
