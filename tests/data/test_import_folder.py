"""A user's own folder: what is read out of it, and how its faults are named before anything is written."""

import hashlib
import io
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from stages.data import import_folder, pair, pictures
from stages.runtime.errors import UserError
from stages.runtime.images import load_arrays, load_split

REPOSITORY = Path(__file__).parents[2]
NAMES = {"train": ["c.png", "a.png", "B.jpg"], "test": ["y.jpeg", "x.png"]}
LABELS = {"train": [3, 9, 0], "test": [1, 5]}


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A user's folder of its own, and params in the working folder that name it `mydigits`, faces 16x16."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    folder = tmp_path / "own"
    folder.mkdir()
    params = yaml.safe_load((REPOSITORY / "presets/smoke.yaml").read_text())
    params["data"] |= {"folders": {"mydigits": str(folder)}, "folder_face_size": 16}
    pair_params = next(iter(params["adaptation"]["pairs"].values()))
    params["adaptation"]["pairs"]["mydigits-syn"] = pair_params | {"source": "mydigits", "target": "syn"}
    Path("params.yaml").write_text(yaml.safe_dump(params))
    return folder


def picture(number, side=28):
    """Told apart by its grey, the upper half darker."""
    pixels = np.full((side, side, 3), 100 + 20 * number, np.uint8)
    pixels[: side // 2] //= 2
    return Image.fromarray(pixels)


def write_faces(folder, side=28):
    for split, names in NAMES.items():
        (folder / split).mkdir()
        for number, name in enumerate(names):
            picture(number, side).save(folder / split / name, quality=95)


def write_digits(folder, side=28):
    write_faces(folder, side)
    for split, names in NAMES.items():
        write_csv(folder, split, names, LABELS[split])


def write_csv(folder, split, names, labels):
    rows = [f"{name},{label}\n" for name, label in zip(names, labels, strict=True)]
    (folder / f"{split}.csv").write_text("image_name,label\n" + "".join(rows))


def greys(images):
    return np.rint((images[:, -2, 2, 0].astype(int) - 100) / 20).astype(int).tolist()


# ---- What is read


def test_digits_come_in_the_order_of_the_csv_with_their_labels(own):
    write_digits(own)
    import_folder.main("mydigits")
    for split in ("train", "test"):
        images, labels = load_split("data/prepared/mydigits.npz", split)
        assert images.shape[1:] == (28, 28, 3)
        assert greys(images) == list(range(len(NAMES[split]))) and labels.tolist() == LABELS[split]


def test_faces_come_in_the_order_of_their_names_at_the_size_that_params_say_and_without_labels(own):
    write_faces(own)
    import_folder.main("mydigits")
    with np.load("data/prepared/mydigits.npz") as file:
        assert set(file) == {"train_images", "test_images"}
    train, test = load_arrays("data/prepared/mydigits.npz", "train_images", "test_images")
    assert train.shape == (3, 16, 16, 3) and greys(train) == [2, 1, 0] and greys(test) == [1, 0]
    with pytest.raises(UserError, match="mydigits.npz has no array 'train_labels"):
        load_split("data/prepared/mydigits.npz", "train")


def test_digits_of_every_size_and_colour_are_padded_and_resized_once(own):
    write_digits(own)
    wide = np.random.default_rng(0).integers(256, size=(20, 50), dtype=np.uint8)
    Image.fromarray(wide).save(own / "train/c.png")
    Image.fromarray(wide.astype(np.uint16) * 257).save(own / "train/a.png")
    picture(2, side=7).save(own / "train/B.jpg", quality=95)
    import_folder.main("mydigits")
    images, _ = load_split("data/prepared/mydigits.npz", "train")
    padded = np.pad(wide, ((15, 15), (0, 0)), mode="edge")
    expected = np.asarray(Image.fromarray(padded).convert("RGB").resize((28, 28), Image.Resampling.BILINEAR))
    assert np.array_equal(images[0], expected) and np.array_equal(images[1], expected)
    assert greys(images[2:]) == [2]


def test_faces_are_cut_to_their_centred_square(own):
    write_faces(own)
    tall = Image.new("RGB", (40, 100), "red")
    tall.paste("blue", (0, 30, 40, 70))
    tall.save(own / "test/x.png")
    import_folder.main("mydigits")
    [images] = load_arrays("data/prepared/mydigits.npz", "test_images")
    assert (images[0] == [0, 0, 255]).all()


@pytest.mark.parametrize(
    "text",
    [
        "\ufeffimage_name,label\nc.png,3\na.png,9\nB.jpg,0\n",
        "image_name,label\r\nc.png,3\r\na.png,9\r\nB.jpg,0",
        "image_name,label\rc.png,3\ra.png,9\rB.jpg,0\r",
        'label,"image_name"\n3,"c.png"\n"9",a.png\n0,B.jpg\n\n',
        ",image_name, label,more\n0,c.png, 3,x\n1, a.png,9 ,x\n2,B.jpg,0,x\n",
    ],
    ids=["byte order mark", "CR LF", "CR", "quotes and another order", "spaces and other columns"],
)
def test_what_spreadsheets_make_of_a_csv_is_read_all_the_same(own, text):
    write_digits(own)
    (own / "train.csv").write_bytes(text.encode())
    import_folder.main("mydigits")
    images, labels = load_split("data/prepared/mydigits.npz", "train")
    assert greys(images) == [0, 1, 2] and labels.tolist() == [3, 9, 0]


def test_a_comma_in_a_quoted_name_belongs_to_it(own):
    write_digits(own)
    (own / "train/c.png").rename(own / "train/c, the first.png")
    (own / "train.csv").write_text('image_name,label\n"c, the first.png",3\na.png,9\nB.jpg,0\n')
    import_folder.main("mydigits")
    assert load_split("data/prepared/mydigits.npz", "train")[1].tolist() == [3, 9, 0]


@pytest.mark.parametrize("write", [write_digits, write_faces])
def test_what_systems_leave_in_folders_is_no_picture(own, write):
    write(own)
    import_folder.main("mydigits")
    expected = hashlib.sha256(Path("data/prepared/mydigits.npz").read_bytes()).hexdigest()
    for name in (
        ".DS_Store",
        "._train.csv",
        "train/.DS_Store",
        "train/Thumbs.db",
        "test/._x.png",
        "test/desktop.ini",
        "README.txt",
    ):
        (own / name).write_text("clutter")
    for name in ("train/.hidden", "train/__MACOSX", "val"):
        (own / name).mkdir()
    import_folder.main("mydigits")
    assert hashlib.sha256(Path("data/prepared/mydigits.npz").read_bytes()).hexdigest() == expected


def test_a_folder_may_stand_behind_links(own, tmp_path):
    write_digits(tmp_path / "own")
    shutil.move(own / "train", tmp_path / "elsewhere")
    (own / "train").symlink_to(tmp_path / "elsewhere")
    import_folder.main("mydigits")
    assert greys(load_split("data/prepared/mydigits.npz", "train")[0]) == [0, 1, 2]


def test_own_digits_make_a_pair_with_those_of_the_catalogue(own):
    write_digits(own)
    for split, count in (("train", 40), ("test", 20)):
        for number in range(count):
            picture(number % 5, side=40).save(own / split / f"{number}.png")
        for path in own.glob(f"{split}/*[a-zA-Z].*"):
            path.unlink()
        write_csv(own, split, [f"{number}.png" for number in range(count)], [number % 10 for number in range(count)])
    import_folder.main("mydigits")
    shutil.copy("data/prepared/mydigits.npz", "data/prepared/syn.npz")
    pair.main("mydigits-syn")
    source, labels = load_arrays("data/pairs/mydigits-syn/test.npz", "source_test_images", "source_test_labels")
    assert greys(source) == [number % 5 for number in range(20)] and labels.tolist() == [number % 10 for number in range(20)]


# ---- What is refused


def test_missing_files_are_named_with_their_number(own):
    write_digits(own)
    for name in NAMES["train"]:
        (own / "train" / name).unlink()
    (own / "train/other.png").write_bytes((own / "test/x.png").read_bytes())
    with pytest.raises(
        UserError,
        match=r"3 files listed in train\.csv but missing from train/: B\.jpg, a\.png, c\.png; 1 file in train/ but not listed",
    ):
        import_folder.main("mydigits")
    assert not list(Path("data").glob("prepared/*"))


def test_a_long_list_of_names_is_cut_but_not_its_count(own):
    write_digits(own)
    write_csv(own, "test", [*NAMES["test"], *(f"{number:02}.png" for number in range(99, 0, -1))], [1] * 101)
    with pytest.raises(
        UserError, match=r"99 files listed in test\.csv but missing from test/: 01\.png, 02\.png, .*, 10\.png and 89 more$"
    ):
        import_folder.main("mydigits")


def spoil_csv(text):
    return lambda own: (own / "train.csv").write_bytes(text if isinstance(text, bytes) else text.encode())


def spoil_row(row):
    return lambda own: (own / "train.csv").write_text((own / "train.csv").read_text() + row)


def take(*names):
    return lambda own: [shutil.rmtree(own / name) if (own / name).is_dir() else (own / name).unlink() for name in names]


def put(name, content=b"", folder=False):
    return lambda own: (own / name).mkdir() if folder else (own / name).write_bytes(content)


FAULTS = {
    "extra file": (put("train/d.png", b"x"), r"1 file in train/ but not listed in train\.csv: d\.png$"),
    "extra folder": (put("train/more", folder=True), r"1 entry in train/ besides files: more$"),
    "broken link": (lambda own: (own / "test/z.png").symlink_to("/nowhere"), r"1 entry in test/ besides files: z\.png$"),
    "other csv": (put("labels.CSV"), r"1 csv file besides train\.csv and test\.csv: labels\.CSV$"),
    "csv of one split": (take("test.csv"), r"train\.csv but no test\.csv \(digits need both, faces none\)$"),
    "csv of the other split": (take("train.csv"), r"test\.csv but no train\.csv"),
    "no folder": (take("test"), r": no folder test/$"),
    "empty folder": (take("test/x.png", "test/y.jpeg"), r": test/ holds no pictures$"),
    "name twice": (spoil_row("c.png,3\n"), r"1 image_name more than once in train\.csv: c\.png$"),
    "label 10": (
        spoil_csv("image_name,label\nc.png,10\na.png,-1\nB.jpg,0\n"),
        r"2 labels in train\.csv other than 0 to 9: a\.png \(-1\), c\.png \(10\)$",
    ),
    "label no number": (
        spoil_csv("image_name,label\nc.png,three\na.png,1.5\nB.jpg,\n"),
        r"3 labels in train\.csv other than 0 to 9: B\.jpg \(\), a\.png \(1\.5\), c\.png \(three\)$",
    ),
    "other digits": (spoil_csv("image_name,label\nc.png,٣\na.png,²\nB.jpg,0\n"), r"2 labels in train\.csv other than 0 to 9"),
    "no label": (
        spoil_csv("image_name,label\nc.png,1\na.png,2\nB.jpg\n"),
        r"1 label in train\.csv other than 0 to 9: B\.jpg \(\)$",
    ),
    "path above": (spoil_row("../test/x.png,1\n"), r"1 image_name in train\.csv that can't be a file's name: \.\./test/x\.png$"),
    "paths": (
        spoil_row("/etc/passwd,1\ntrain/c.png,1\n..,1\n,1\na\\b.png,1\n"),
        r"5 image_names in train\.csv that can't be a file's name: '', \.\., /etc/passwd, a\\b\.png, train/c\.png$",
    ),
    "unprintable name": (
        spoil_row('"a\nb\0.png",1\n'),
        r"1 file listed in train\.csv but missing from train/: 'a\\nb\\x00\.png'$",
    ),
    "long name": (spoil_row("n" * 5000 + ",1\n"), r"missing from train/: n{200}\.\.\.$"),
    "no columns": (
        spoil_csv("file,digit\nc.png,3\n"),
        r"train\.csv can't be read: its columns are file, digit, not image_name and label \(faces need no csv\)$",
    ),
    "semicolons": (spoil_csv("image_name;label\nc.png;3\n"), r"its columns are image_name;label, not image_name and label"),
    "no header": (spoil_csv("c.png,3\na.png,9\n"), r"its columns are c\.png, 3, not image_name and label"),
    "empty csv": (spoil_csv(""), r"train\.csv can't be read: its columns are '', not image_name and label"),
    "header alone": (spoil_csv("image_name,label\n"), r"train\.csv can't be read: it lists no pictures$"),
    "UTF-16": (spoil_csv("image_name,label\nc.png,3\n".encode("utf-16")), r"train\.csv can't be read: .*utf-8"),
    "open quote": (spoil_row('"c.png,3\n'), r"train\.csv can't be read: unexpected end of data$"),
    "no picture": (put("train/c.png", b"text"), r"1 file in train/ that can't be read: c\.png \(no PNG or JPEG picture\)$"),
    "csv is a folder": (
        lambda own: (take("train.csv")(own), put("train.csv", folder=True)(own)),
        r"train\.csv can't be read: Is a directory$",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_a_folder_of_digits_is_named_and_nothing_is_written(own, fault):
    write_digits(own)
    spoil, message = FAULTS[fault]
    spoil(own)
    with pytest.raises(UserError, match=message) as caught:
        import_folder.main("mydigits")
    assert str(own) in str(caught.value) and "\n" not in str(caught.value)
    assert not list(Path("data").glob("prepared/*"))


def test_all_faults_of_both_splits_are_named_at_once(own):
    write_digits(own)
    (own / "train/c.png").unlink()
    (own / "test/z.png").write_bytes(b"")
    write_csv(own, "test", NAMES["test"], [12, 3])
    with pytest.raises(
        UserError,
        match=r"missing from train/: c\.png; 1 label in test\.csv .*: y\.jpeg \(12\); 1 file in test/ but not listed .*: z\.png$",
    ):
        import_folder.main("mydigits")


@pytest.mark.parametrize("write", [write_digits, write_faces])
def test_files_that_are_no_whole_pictures_are_all_named(own, write):
    write(own)
    content = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(content, "PNG")
    (own / "train/a.png").write_bytes(content.getvalue()[:2000])
    Image.new("RGB", (4, 4)).save(own / "train/B.jpg", "GIF")
    (own / "test/x.png").write_bytes(b"")
    message = (
        r"2 files in train/ that can't be read: B\.jpg \(no PNG or JPEG picture\), a\.png \(.*(truncated|broken|Truncated).*\); "
        r"1 file in test/ that can't be read: x\.png \(no PNG or JPEG picture\)$"
    )
    with pytest.raises(UserError, match=message):
        import_folder.main("mydigits")
    assert not list(Path("data").glob("prepared/*"))


def test_a_picture_of_too_many_pixels_is_named(own, monkeypatch):
    write_faces(own)
    monkeypatch.setattr(pictures.Image, "MAX_IMAGE_PIXELS", 28 * 28)
    picture(0, side=29).save(own / "train/c.png")
    with pytest.raises(UserError, match=r"1 file in train/ that can't be read: c\.png \(.*pixels.*\)$"):
        import_folder.main("mydigits")


@pytest.mark.parametrize(
    "spoil", [put("train/notes.txt", b"text"), put("test/more", folder=True), put("labels.csv"), take("train")]
)
def test_a_folder_of_faces_holds_pictures_and_nothing_else(own, spoil):
    write_faces(own)
    spoil(own)
    with pytest.raises(UserError, match="notes.txt|more|labels.csv|no folder train/"):
        import_folder.main("mydigits")
    assert not list(Path("data").glob("prepared/*"))


def test_a_split_of_nothing_but_clutter_holds_no_pictures(own):
    write_faces(own)
    take("test/x.png", "test/y.jpeg")(own)
    put("test/.DS_Store", b"clutter")(own)
    with pytest.raises(UserError, match=r": test/ holds no pictures$"):
        import_folder.main("mydigits")


def test_a_folder_that_is_not_there_and_a_name_that_params_lack_are_one_clear_line(own):
    own.rmdir()
    with pytest.raises(
        UserError, match=r"data\.folders: .*/own is no folder; give the absolute path of one that holds train/ and test/"
    ):
        import_folder.main("mydigits")
    own.write_text("a file")
    with pytest.raises(UserError, match="is no folder"):
        import_folder.main("mydigits")
    with pytest.raises(UserError, match=r"data\.folders\.other"):
        import_folder.main("other")


def test_a_relative_path_is_refused():
    with pytest.raises(UserError, match="is no folder; give the absolute path"):
        import_folder.list_all(Path("."))
