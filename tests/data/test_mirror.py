"""Fetching from a mirror: a folder or an address in the place of every publisher and of pip."""

import shutil

import pytest

from stages.data import fetch
from stages.data.catalog import Download
from stages.runtime.errors import UserError
from tests.data.publishers import UNPACK, bsds500, names_in, sha256


@pytest.fixture
def mirror(tmp_path, site, wheel, package, monkeypatch):
    """Sources of every kind whose files lie in a folder, served by a site too; publishers and pip are out of reach."""
    folder = tmp_path / "the mirror"
    folder.mkdir()
    shutil.move(tmp_path / "index" / wheel.file, folder)
    sources = [wheel, package]
    for name, content, unpack in (("usps.bz2", b"digits", None), ("BSR_bsds500.tgz", bsds500(), UNPACK)):
        (folder / name).write_bytes(content)
        sources.append(Download(("http://127.0.0.1:1/nowhere",), name, None, sha256(content), unpack))
    for path in folder.iterdir():
        site.pages[f"/some/where/{path.name}"] = path.read_bytes()
    monkeypatch.setattr(fetch, "_pip_download", lambda *_: pytest.fail("pip was asked"))
    monkeypatch.setattr(fetch, "_from_publisher", lambda *_: pytest.fail("the publisher was asked"))
    return tuple(sources), folder


def forms(folder, site):
    return {
        "path": str(folder),
        "file:": f"file:{folder}",
        "file://": "file://" + str(folder).replace(" ", "%20"),
        "file://localhost": f"file://localhost{folder}/",
        "http:": f"{site.address}/some/where",
        "http:/": f"{site.address}/some/where/",
    }


@pytest.mark.parametrize("form", ["path", "file:", "file://", "file://localhost", "http:", "http:/"])
def test_a_mirror_gives_every_file_by_its_name_and_nobody_else_is_asked(tmp_path, site, mirror, form):
    sources, folder = mirror
    fetch.fetch(sources, tmp_path / "raw/set", forms(folder, site)[form])
    found = [name for name in names_in(tmp_path / "raw/set") if "." in name]
    pictures = [f"bsds500/{split}/{number}.jpg" for split in ("test", "train", "val") for number in (1, 2)]
    assert found == sorted([*pictures, "a/1.txt", "b/2.txt", "photos/photo.png", "usps.bz2"])
    assert all(path.startswith("/some/where/") for path in site.paths())
    assert len(site.asked) == (3 if form.startswith("http") else 0)


@pytest.mark.parametrize("form", ["path", "file:", "http:"])
@pytest.mark.parametrize("name", ["usps.bz2", "BSR_bsds500.tgz", "thing-1.0-py3-none-any.whl"])
@pytest.mark.parametrize("damage", ["missing", "changed"])
def test_a_mirror_s_missing_or_changed_file_is_named_and_leaves_nothing(tmp_path, site, mirror, form, name, damage):
    sources, folder = mirror
    if damage == "missing":
        (folder / name).unlink()
        del site.pages[f"/some/where/{name}"]
    else:
        (folder / name).write_bytes(b"changed")
        site.pages[f"/some/where/{name}"] = b"changed"
    message = {
        "missing": rf"the mirror .*(has no file|did not give) {name}.*put it there",
        "changed": "not the file that was pinned",
    }
    with pytest.raises(UserError, match=message[damage]) as caught:
        fetch.fetch(sources, tmp_path / "raw/set", forms(folder, site)[form])
    assert "\n" not in str(caught.value)
    assert name in str(caught.value) or "wheel of thing" in str(caught.value)
    assert not list((tmp_path / "raw").iterdir())


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("/no/such/folder", "the mirror /no/such/folder has no file usps.bz2"),
        ("file://other.example/folder", "names no folder of this machine"),
        ("http://host/folder?token=secret", "without `\\?` and `#`"),
        ("http://[bad", "no valid address"),
    ],
)
def test_a_mirror_that_is_none_is_one_clear_line(tmp_path, mirror, address, message):
    with pytest.raises(UserError, match=message) as caught:
        fetch.fetch(mirror[0][2:], tmp_path / "raw/set", address)
    assert "secret" not in str(caught.value)


def test_a_mirror_s_credentials_are_never_shown(tmp_path, site, mirror, capfd):
    sources, _ = mirror
    site.pages["/some/where/usps.bz2"] = b"changed"
    for place in ("/some/where", "/gone"):
        with pytest.raises(UserError) as caught:
            fetch.fetch(sources[2:], tmp_path / "raw/set", site.address.replace("://", "://me:secret@") + place)
        assert site.address in str(caught.value)
        assert "secret" not in str(caught.value) + "".join(capfd.readouterr())
