"""Pictures come from folders, files or a library, exactly; where not, a sentence says why."""

import io
import sys
import types

import numpy as np
import pytest
import torch
from PIL import Image

from egan.data import decoding, images, make_data
from populations.errors import UsageError
from populations.randomness import generator

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")


def encoded(pixels, kind="PNG", mode=None):
    content = io.BytesIO()
    Image.fromarray(pixels).convert(mode or ("L" if pixels.ndim == 2 else "RGB")).save(
        content, kind
    )
    return content.getvalue()


def table(pixels, labels, kind="PNG", image="image"):
    """As the `datasets` library writes it."""
    rows = [{"bytes": encoded(each, kind), "path": f"{n}.png"} for n, each in enumerate(pixels)]
    return pyarrow.table({image: rows, "label": labels})


def drawn_at_random(count, *shape):
    return np.random.default_rng(count).integers(0, 256, (count, *shape)).astype(np.uint8)


@pytest.fixture
def pixels():
    """Images of training and test, of which no two are equal."""
    return [drawn_at_random(30, 28, 28), drawn_at_random(20, 28, 28)]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """A cache of its own."""
    monkeypatch.setenv("EGAN_CACHE", str(tmp_path / "cache"))
    for each in (images._local, images._downloaded):
        each.cache_clear()
    yield tmp_path / "cache"
    for each in (images._local, images._downloaded):
        each.cache_clear()


@pytest.fixture
def folder(pixels, tmp_path):
    """A folder of parquet files."""
    place = tmp_path / "files"
    place.mkdir()
    for name, each in zip(("train", "test"), pixels, strict=True):
        rows = table(each, [place % 10 for place in range(len(each))])
        parquet.write_table(rows, place / f"{name}.parquet", row_group_size=7)
    return place


def load(folder, name="mnist", **options):
    return make_data(name, {"data_dir": str(folder), **options})


def refusal(*arguments, **options):
    with pytest.raises(UsageError) as error:
        load(*arguments, **options)
    assert "\n" not in str(error.value)
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
    folder, own_cache, monkeypatch
):
    first = load(folder)
    assert load(folder) is first
    assert len(list(own_cache.glob("pixels-*.npy"))) == 2
    images._local.cache_clear()
    monkeypatch.setattr(decoding, "_pixels", lambda *given: pytest.fail("decoded again"))
    monkeypatch.setattr(decoding, "_look_at", lambda *given: pytest.fail("looked at again"))
    assert torch.equal(load(folder).values, first.values)


def test_a_file_that_has_changed_is_read_anew(folder, pixels):
    before = load(folder).values
    parquet.write_table(table(255 - pixels[0], [0] * 30), folder / "train.parquet")
    assert torch.equal(load(folder).values, 255 - before)


def test_files_in_pieces_are_read_as_one(folder, pixels):
    whole = load(folder).values
    rows = parquet.read_table(folder / "train.parquet")
    (folder / "train.parquet").unlink()
    (folder / "data").mkdir()
    (folder / "test.parquet").rename(folder / "data" / "test-0.parquet")
    for piece, start in enumerate((0, 20)):
        parquet.write_table(rows[start : start + 20], folder / "data" / f"train-{piece}.parquet")
    assert torch.equal(load(folder).values, whole)


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


def test_copies_of_cifar10_with_losses_are_noted_and_exact_ones_are_not(tmp_path):
    pixels = drawn_at_random(12, 32, 32, 3)
    for kind, note in (("PNG", ""), ("JPEG", images.COPIES)):
        place = tmp_path / kind
        place.mkdir()
        for split in ("train", "test"):
            parquet.write_table(
                table(pixels, [0] * 12, kind, image="img"), place / f"{split}.parquet"
            )
        found = load(place, "cifar10")
        assert (found.shape, found.note) == ((3, 32, 32), note)
        exact = torch.from_numpy(pixels).permute(0, 3, 1, 2)
        assert torch.equal(found.values, exact) == (kind == "PNG")


def test_half_of_the_images_are_mirrored_where_it_is_asked_for(tmp_path):
    pixels = drawn_at_random(1, 32, 32, 3)
    for split in ("train", "test"):
        parquet.write_table(table(pixels, [0], image="img"), tmp_path / f"{split}.parquet")
    plain, mirrored = (load(tmp_path, "cifar10", flip=flip) for flip in (False, True))
    image = plain.draw(1, generator(0, 0, "test"))[0]
    assert all(torch.equal(each, image) for each in plain.draw(20, generator(0, 0, "test")))
    drawn = mirrored.draw(400, generator(0, 0, "test"))
    same = torch.stack([(each == image).all() for each in drawn])
    turned = torch.stack([(each == image.flip(-1)).all() for each in drawn])
    assert torch.equal(turned, ~same)
    assert 160 < int(same.sum()) < 240
    assert torch.equal(drawn, mirrored.draw(400, generator(0, 0, "test")))


# Folders of pictures.


@pytest.fixture
def pictures(tmp_path):
    """A folder of pictures of several kinds and sizes, in two sub-folders; one is damaged."""
    place = tmp_path / "pictures"
    for name in ("cats", "dogs"):
        (place / name).mkdir(parents=True)
    for number in range(6):
        pixels = drawn_at_random(number + 1, 40, 20 + number, 3)[0]
        kind = ("PNG", "JPEG")[number % 2]
        path = place / ("cats", "dogs")[number // 3] / f"{number}.{kind.lower()}"
        path.write_bytes(encoded(pixels, kind))
    (place / "notes.txt").write_text("not a picture")
    (place / ".hidden.png").write_bytes(b"not looked at")
    return place


def test_pictures_of_any_size_become_squares_and_sub_folders_classes(pictures):
    found = load(pictures, "folder", size=16)
    assert found.name == "pictures"
    assert found.shape == (3, 16, 16)
    assert (found.labels.tolist(), found.classes) == ([0, 0, 0, 1, 1, 1], ("cats", "dogs"))
    assert found.unseen is None
    assert load(pictures, "folder").shape == (3, 32, 32)
    assert load(pictures, "folder", size=8, channels=1).shape == (1, 8, 8)


def test_pictures_without_classes_are_data_too(pictures):
    (pictures / "cats" / "0.png").rename(pictures / "loose.png")
    found = load(pictures, "folder")
    assert (found.labels, found.classes, len(found.values)) == (None, (), 6)


def test_sub_folders_train_and_test_are_the_splits(pictures):
    for name in ("train", "test"):
        (pictures / name).mkdir()
    (pictures / "cats").rename(pictures / "train" / "cats")
    (pictures / "dogs").rename(pictures / "test" / "dogs")
    found = load(pictures, "folder")
    assert (len(found.values), len(found.unseen.values)) == (3, 3)
    assert found.labels is None  # one class is none


def test_without_train_what_lies_outside_the_test_pictures_is_learned(pictures):
    (pictures / "test" / "dogs").mkdir(parents=True)
    (pictures / "dogs" / "5.jpeg").rename(pictures / "test" / "dogs" / "5.jpeg")
    found = load(pictures, "folder")
    assert (found.labels.tolist(), found.classes) == ([0, 0, 0, 1, 1], ("cats", "dogs"))
    assert len(found.unseen.values) == 1
    (pictures / "cats").rename(pictures / "test" / "cats")
    (pictures / "dogs").rename(pictures / "test" / "more")
    only = load(pictures, "folder")
    assert (len(only.values), only.unseen) == (6, None)


def test_classes_of_test_pictures_are_left_out_where_training_has_none(pictures):
    (pictures / "train").mkdir()
    for path in (pictures / "cats").iterdir():
        path.rename(pictures / "train" / path.name)
    for name in ("cats", "dogs"):
        (pictures / "test" / name).mkdir(parents=True)
    for path in (pictures / "dogs").iterdir():
        path.rename(pictures / "test" / ("cats" if "3" in path.name else "dogs") / path.name)
    found = load(pictures, "folder")
    assert (found.labels, len(found.unseen.values), found.unseen.labels) == (None, 3, None)


def test_labels_that_are_kept_secret_are_no_labels(folder, pixels):
    parquet.write_table(table(pixels[1], [-1] * 20), folder / "test.parquet")
    found = load(folder)
    assert found.labels.tolist() == [place % 10 for place in range(30)]
    assert (len(found.unseen.values), found.unseen.labels) == (20, None)


@pytest.mark.parametrize("name", [None, "test", "validation", "val", "valid"])
def test_classes_are_numbered_as_in_training(tmp_path, name, caplog):
    splits = {"train": ("cat", "dog", "fish")} | ({name: ("cat", "fish")} if name else {})
    for split, classes in splits.items():
        for place, each in enumerate(classes):
            (tmp_path / split / each).mkdir(parents=True)
            content = encoded(np.full((4, 4), 10 * place, np.uint8))
            (tmp_path / split / each / "0.png").write_bytes(content)
    (tmp_path / "loose.png").write_bytes(encoded(np.zeros((4, 4), np.uint8)))
    found = load(tmp_path, "folder", size=4)
    assert (found.labels.tolist(), found.classes) == ([0, 1, 2], ("cat", "dog", "fish"))
    assert caplog.messages == [f"Of {tmp_path} 1 pictures are in no split and left out."]
    if name is None:
        assert found.unseen is None
        return
    assert found.unseen.labels.tolist() == [0, 2]
    (tmp_path / name / "fish").rename(tmp_path / name / "bird")
    assert refusal(tmp_path, "folder", size=4) == (
        f"{tmp_path / name} has the class bird, of which training has no pictures."
    )


def test_links_are_followed_and_those_that_lead_nowhere_are_damaged(pictures, tmp_path):
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "cats").symlink_to(pictures / "cats")
    (tmp_path / "links" / "dogs").symlink_to(pictures / "dogs")
    assert load(tmp_path / "links", "folder").labels.tolist() == [0, 0, 0, 1, 1, 1]
    (tmp_path / "links" / "lost.png").symlink_to(tmp_path / "nowhere.png")
    assert "1 of 7 pictures (lost.png) are damaged" in refusal(tmp_path / "links", "folder")
    assert len(load(tmp_path / "links", "folder", skip_corrupt=True).values) == 6


def test_a_picture_that_changes_while_it_is_read_is_named(pictures, monkeypatch):
    def gone(*given):
        raise FileNotFoundError

    monkeypatch.setattr(decoding, "_pixels", gone)
    assert refusal(pictures, "folder") == f"cats/0.png of {pictures} changed while it was read."


def test_damaged_pictures_are_named_and_left_out_where_that_is_asked_for(pictures, caplog):
    path = pictures / "dogs" / "3.jpeg"
    path.write_bytes(path.read_bytes()[:200])  # cut off
    (pictures / "cats" / "x.png").write_bytes(b"words")
    assert refusal(pictures, "folder") == (
        f"{pictures} cannot be read: 2 of 7 pictures (cats/x.png, dogs/3.jpeg) are damaged; repair "
        "or remove them, or leave them out with data_options.skip_corrupt = true (of the "
        "data sets folder and hub)."
    )
    found = load(pictures, "folder", skip_corrupt=True)
    assert found.labels.tolist() == [0, 0, 0, 1, 1]
    assert caplog.messages == [
        f"Of {pictures} 2 of 7 pictures (cats/x.png, dogs/3.jpeg) are damaged and left out."
    ]


def test_of_many_damaged_pictures_the_first_are_named(tmp_path):
    for number in range(7):
        (tmp_path / f"{number}.png").write_bytes(b"words")
    assert refusal(tmp_path, "folder") == (
        f"{tmp_path} cannot be read: 7 of 7 pictures (0.png, 1.png, 2.png, 3.png, 4.png and 2 "
        "more) are damaged; repair or remove them, or leave them out with "
        "data_options.skip_corrupt = true (of the data sets folder and hub)."
    )
    assert refusal(tmp_path, "folder", skip_corrupt=True) == (
        f"{tmp_path} cannot be read: all its pictures are damaged."
    )


def test_a_folder_without_pictures_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    assert refusal(tmp_path / "empty", "folder").startswith(
        f"the folder {tmp_path / 'empty'} has no pictures: it must hold train.parquet, or files "
        "that end in one of .png, .jpg,"
    )
    assert refusal(tmp_path / "none", "folder") == f"the folder {tmp_path / 'none'} does not exist."
    with pytest.raises(UsageError) as error:
        make_data("folder")
    assert str(error.value) == "the data set folder needs a folder: give it with --data-dir."


def test_parquet_files_are_a_folder_too_and_texts_are_classes(tmp_path):
    pixels = drawn_at_random(4, 9, 12)
    rows = table(pixels, ["b", "a", "b", "c"])
    parquet.write_table(rows.rename_columns(["photo", "kind"]), tmp_path / "train.parquet")
    assert load(tmp_path, "folder", size=8).labels is None
    found = load(tmp_path, "folder", size=8, image="photo", label="kind")
    assert (found.labels.tolist(), found.classes) == ([1, 0, 1, 2], ("a", "b", "c"))
    assert found.shape == (1, 8, 8)
    assert "photos" in refusal(tmp_path, "folder", image="photos")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"size": 0}, "data_options.size is 0: it must be a whole number of at least 1."),
        ({"channels": 2}, "data_options.channels is 2: it must be 0, 1 or 3."),
        ({"flip": "yes"}, "data_options.flip is 'yes': it must be true or false."),
    ],
)
def test_a_wrong_option_is_refused(pictures, options, problem):
    assert refusal(pictures, "folder", **options) == problem


# What is not to be had.


def test_without_files_and_library_it_is_said_how_to_get_them(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    for name, options, address in (
        ("mnist", {}, "ylecun/mnist"),
        ("stacked-mnist", {}, "ylecun/mnist"),
        ("cifar10", {}, "uoft-cs/cifar10"),
        ("hub", {"name": "mine/pictures"}, "mine/pictures"),
    ):
        with pytest.raises(UsageError) as error:
            make_data(name, options)
        assert str(error.value) == (
            f"the data set {address} is not part of this project: give the folder of its files "
            "with --data-dir (to the data set folder, in the place of hub), or install the library "
            "that downloads them: pip install 'egan[images]'."
        )


def test_without_the_reader_of_parquet_files_it_is_said_how_to_get_it(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    assert refusal(folder) == (
        f"reading {folder / 'train.parquet'} needs pyarrow: pip install 'egan[images]'."
    )


def broken(kind, pixels):
    """A parquet file that is none, or not one of pictures of one size."""
    if kind == "no parquet":
        return b"words"
    rows = {
        "other columns": lambda: pyarrow.table({"pixels": [1, 2]}),
        "no pictures": lambda: pyarrow.table({"image": [[1.0]], "label": [1]}),
        "no label": lambda: pyarrow.table({"image": table(pixels[0], [1] * 30)["image"]}),
        "missing labels": lambda: table(pixels[0][:2], [1, None]),
        "no picture": lambda: pyarrow.table(
            {
                "image": [{"bytes": None, "path": "nowhere.png"}, {"bytes": None, "path": None}],
                "label": [1, 2],
            }
        ),
        "a label below 0": lambda: table(pixels[0][:2], [1, -1]),
        "damaged": lambda: pyarrow.table({"image": [{"bytes": b"w", "path": ""}], "label": [1]}),
        "unequal sizes": lambda: table([pixels[0][0], pixels[0][1][:20]], [1, 2]),
        "nothing": lambda: table(pixels[0], [1] * 30)[:0],
    }[kind]()
    content = io.BytesIO()
    parquet.write_table(rows, content)
    return content.getvalue()


@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        ("no parquet", " cannot be read: "),
        ("other columns", "; it must have the columns image (the bytes of pictures) and label."),
        ("no pictures", "; it must have the columns image (the bytes of pictures) and label."),
        ("missing labels", " cannot be read: ValueError (1 labels are missing); it must have "),
        ("no picture", " cannot be read: 2 of 2 pictures (row 0, row 1) are damaged; repair or "),
        ("a label below 0", " cannot be read: ValueError (1 labels are below 0); it must have "),
        ("damaged", " cannot be read: 1 of 1 pictures (row 0) are damaged; repair or "),
        (
            "unequal sizes",
            " has pictures of 2 sizes, such as 20 x 28 and 28 x 28: say to which they are cut and "
            "resized, for example data_options.size = 32 (of the data sets folder and hub).",
        ),
        ("nothing", " is empty: it must hold at least one picture."),
    ],
)
def test_a_file_that_is_not_of_the_form_is_named_with_the_form(folder, pixels, kind, problem):
    path = folder / "train.parquet"
    path.write_bytes(broken(kind, pixels))
    message = refusal(folder)
    assert message.startswith(str(path))
    assert problem in message


class Library(types.ModuleType):
    """What of the `datasets` library is used."""

    def __init__(self, name, splits):
        super().__init__("datasets")
        self.known = {name: {split: Split(rows) for split, rows in splits.items()}}

    def load_dataset(self, name, config):
        assert config is None
        return self.known[name]


class Split:
    def __init__(self, rows):
        self.rows = rows

    def with_format(self, name):
        assert name == "arrow"
        return self

    def __getitem__(self, which):
        return self.rows[which]


def test_the_library_gives_the_same_as_its_files(folder, monkeypatch):
    splits = {split: parquet.read_table(folder / f"{split}.parquet") for split in ("train", "test")}
    monkeypatch.setitem(sys.modules, "datasets", Library("ylecun/mnist", splits))
    files, found = load(folder), make_data("mnist")
    assert torch.equal(found.values, files.values)
    assert torch.equal(found.unseen.labels, files.unseen.labels)


def test_any_data_set_of_the_library_is_found_by_its_name(pixels, monkeypatch):
    splits = {
        "train": table(pixels[0], [1] * 30, image="picture"),
        "validation": table(pixels[1], [2] * 20, image="picture"),
    }
    monkeypatch.setitem(sys.modules, "datasets", Library("mine/sketches", splits))
    found = make_data("hub", {"name": "mine/sketches", "size": 14})
    assert (found.name, found.shape, len(found.unseen.values)) == ("sketches", (1, 14, 14), 20)
    assert found.labels.tolist() == [1] * 30


def test_a_download_that_fails_says_why(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", Library("other", {"test": None}))
    for name, problem in (
        ("mine", "mine cannot be downloaded, KeyError ('mine'): check the name and the network, "),
        ("other", "other has no split train: it has test."),
        ("", "the data set hub needs a name: give it with --data-options.name, for example "),
    ):
        with pytest.raises(UsageError) as error:
            make_data("hub", {"name": name})
        assert str(error.value).startswith(problem)
