"""MNIST comes from files or from a library, exactly; where it does not, a sentence says why."""

import io
import sys
import types

import numpy as np
import pytest
import torch
from PIL import Image

from egan.data import images, make_data
from populations.errors import UsageError
from populations.randomness import generator

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")


def png(pixels, mode="L"):
    content = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(content, "PNG")
    return content.getvalue()


def table(pixels, labels, mode="L"):
    """As the `datasets` library writes it."""
    rows = [{"bytes": png(each, mode), "path": f"{place}.png"} for place, each in enumerate(pixels)]
    return pyarrow.table({"image": rows, "label": labels})


@pytest.fixture
def pixels():
    """Images of training and test, of which no two are equal."""
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (count, 28, 28)).astype(np.uint8) for count in (30, 20)]


@pytest.fixture
def folder(pixels, tmp_path, monkeypatch):
    """A folder of files, and a cache of its own."""
    monkeypatch.setenv("EGAN_CACHE", str(tmp_path / "cache"))
    images._table.cache_clear()
    for name, each in zip(images.SPLITS, pixels, strict=True):
        rows = table(each, [place % 10 for place in range(len(each))])
        parquet.write_table(rows, tmp_path / f"{name}.parquet", row_group_size=7)
    yield tmp_path
    images._table.cache_clear()


def load(folder, name="mnist", **options):
    return make_data(name, {"data_dir": str(folder), **options})


def refusal(*arguments, **options):
    with pytest.raises(UsageError) as error:
        load(*arguments, **options)
    return str(error.value)


def test_pixels_and_labels_are_those_of_the_files(folder, pixels):
    found = load(folder)
    assert found.shape == (1, 28, 28)
    assert torch.equal(found.values[:, 0], torch.from_numpy(pixels[0]))
    assert torch.equal(found.unseen.values[:, 0], torch.from_numpy(pixels[1]))
    assert found.labels.tolist() == [place % 10 for place in range(30)]
    assert found.unseen.labels.tolist() == [place % 10 for place in range(20)]
    drawn = found.draw(50, generator(0, 0, "test"))
    assert (drawn.min() >= -1, drawn.max() <= 1, drawn.dtype) == (True, True, torch.float32)


def test_images_are_decoded_once_for_the_machine_and_read_once_for_the_process(
    folder, pixels, monkeypatch
):
    first = load(folder)
    assert load(folder) is first
    assert len(list((folder / "cache").glob("pixels-*.safetensors"))) == 2
    images._table.cache_clear()
    monkeypatch.setattr(images, "_decode", lambda files: pytest.fail("decoded again"))
    assert torch.equal(load(folder).values, first.values)


def test_a_file_that_has_changed_is_read_anew(folder, pixels):
    before = load(folder).values
    rows = table(255 - pixels[0], [0] * 30)
    parquet.write_table(rows, folder / "train.parquet")
    assert torch.equal(load(folder).values, 255 - before)


def test_triples_on_the_fly_are_of_the_training_images(folder, pixels):
    data = load(folder, "stacked-mnist")
    assert (data.shape, data.triples) == ((3, 28, 28), None)
    assert torch.equal(data.pool[:, 0], torch.from_numpy(pixels[0]))
    assert data.table.unseen is not None


def test_fixed_triples_are_128000_of_all_images(folder):
    data = load(folder, "stacked-mnist-veegan")
    assert data.triples.shape == (128_000, 3)
    assert len(data.pool) == 50
    assert sorted(data.triples.unique().tolist()) == list(range(50))
    assert torch.equal(load(folder, "stacked-mnist-veegan").triples, data.triples)
    assert not torch.equal(load(folder, "stacked-mnist-veegan", seed=1).triples, data.triples)


def test_without_files_and_library_it_is_said_how_to_get_them(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    images._table.cache_clear()
    for name in ("mnist", "stacked-mnist", "stacked-mnist-veegan"):
        with pytest.raises(UsageError) as error:
            make_data(name)
        assert str(error.value) == (
            "the data set mnist is not part of this project: give the folder of the files "
            "train.parquet and test.parquet (--data-dir, or data_options.data_dir), or install the "
            "library that downloads them: pip install 'egan[images]'."
        )


def test_without_the_reader_of_parquet_files_it_is_said_how_to_get_it(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    assert refusal(folder) == (
        f"reading {folder / 'train.parquet'} needs pyarrow: pip install 'egan[images]'."
    )


def test_a_missing_file_is_named(folder):
    (folder / "test.parquet").unlink()
    assert refusal(folder) == (
        f"the folder {folder} has no test.parquet: data_dir must hold train.parquet and "
        "test.parquet."
    )


def broken(folder, kind, pixels):
    path = folder / "train.parquet"
    if kind == "no parquet":
        path.write_bytes(b"words")
    elif kind == "other columns":
        parquet.write_table(pyarrow.table({"pixels": [1, 2]}), path)
    elif kind == "no struct":
        parquet.write_table(pyarrow.table({"image": [b"1"], "label": [1]}), path)
    elif kind == "no picture":
        rows = [{"bytes": b"words", "path": ""}]
        parquet.write_table(pyarrow.table({"image": rows, "label": [1]}), path)
    else:
        sizes = [pixels[0][0], pixels[0][1][:20]]
        parquet.write_table(table(sizes, [1, 2]), path)


@pytest.mark.parametrize(
    "kind", ["no parquet", "other columns", "no struct", "no picture", "unequal sizes"]
)
def test_a_file_that_is_not_of_the_form_is_named_with_the_form(folder, pixels, kind):
    broken(folder, kind, pixels)
    message = refusal(folder)
    assert message.startswith(f"{folder / 'train.parquet'} cannot be read: ")
    assert message.endswith(
        "; it must have the columns image (the bytes of PNG files of one size) and label."
    )
    assert "\n" not in message


class Library(types.ModuleType):
    """What of the `datasets` library is used."""

    Image = staticmethod(lambda decode: ("image", decode))

    def __init__(self, splits):
        super().__init__("datasets")
        self.splits = splits

    def load_dataset(self, name, split):
        assert name == "ylecun/mnist"
        return Split(self.splits[split])


class Split:
    def __init__(self, rows):
        self.rows = rows

    def cast_column(self, name, feature):
        assert (name, feature) == ("image", ("image", False))
        return self

    def with_format(self, name):
        assert name == "arrow"
        return self

    def __getitem__(self, which):
        return self.rows


def test_the_library_gives_the_same_as_its_files(folder, monkeypatch):
    splits = {split: parquet.read_table(folder / f"{split}.parquet") for split in images.SPLITS}
    monkeypatch.setitem(sys.modules, "datasets", Library(splits))
    files, found = load(folder), make_data("mnist")
    assert torch.equal(found.values, files.values)
    assert torch.equal(found.unseen.labels, files.unseen.labels)


def test_a_download_that_fails_says_why(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", Library({}))
    with pytest.raises(UsageError) as error:
        make_data("mnist")
    assert str(error.value).startswith(
        "ylecun/mnist cannot be downloaded, KeyError ('train'): give the folder"
    )
