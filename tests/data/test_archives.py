"""Unpacking: what was asked for, and nothing that could do harm."""

import errno
import io
import stat
import tarfile
import zipfile

import pytest

from stages.data import archives
from stages.data.archives import unpack
from stages.runtime.errors import UserError


def write_zip(path, members):
    """Members by name: bytes, or a ZipInfo's mode for a link or device (its content is where it leads)."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, content in members:
            info = zipfile.ZipInfo(name)
            kind = content if isinstance(content, int) else stat.S_IFREG
            info.external_attr = (kind | 0o644) << 16
            zipped.writestr(info, b"/etc/passwd" if isinstance(content, int) else content)


def write_tar(path, members):
    types = {stat.S_IFLNK: tarfile.SYMTYPE, stat.S_IFCHR: tarfile.CHRTYPE, stat.S_IFIFO: tarfile.FIFOTYPE, 1: tarfile.LNKTYPE}
    with tarfile.open(path, "w:gz") as tarred:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, int):
                info.type, info.linkname = types[content], "/etc/passwd"
                tarred.addfile(info)
            else:
                info.size = len(content)
                tarred.addfile(info, io.BytesIO(content))


FORMS = {"zip": write_zip, "tgz": write_tar}


@pytest.fixture(params=FORMS)
def packed(request, tmp_path):
    """A function that packs members into an archive of either form and gives its path."""

    def pack(*members):
        path = tmp_path / f"archive.{request.param}"
        FORMS[request.param](path, members)
        return path

    return pack


def files_in(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_wanted_members_land_below_the_folder_and_no_others(packed, tmp_path):
    archive = packed(("top/images/a/1.jpg", b"one"), ("top/images/b/2.jpg", b"two"), ("top/images/a/x.db", b""), ("1.jpg", b"no"))
    assert unpack(archive, "top/images", "*/*.jpg", tmp_path / "out") == ["a/1.jpg", "b/2.jpg"]
    assert files_in(tmp_path / "out") == {"a/1.jpg": b"one", "b/2.jpg": b"two"}


def test_names_may_begin_with_the_current_folder(packed, tmp_path):
    assert unpack(packed(("./top/1.jpg", b"one")), "top", "*.jpg", tmp_path / "out") == ["1.jpg"]


@pytest.mark.parametrize(
    "name",
    ["top/../../escaped.jpg", "../escaped.jpg", "/{outside}/escaped.jpg", "top//{outside}/escaped.jpg", "top/..\\escaped.jpg"],
)
def test_a_member_that_would_leave_the_folder_keeps_all_of_the_archive_out(packed, tmp_path, name):
    outside = tmp_path / "outside"
    outside.mkdir()
    archive = packed(("top/good.jpg", b"good"), (name.format(outside=str(outside).lstrip("/")), b"bad"))
    with pytest.raises(UserError, match="is malicious: .* outside"):
        unpack(archive, "top", "*.jpg", tmp_path / "deep" / "out")
    assert not list(tmp_path.rglob("*.jpg"))


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
def test_links_and_devices_are_refused_before_anything_is_written(packed, tmp_path, kind):
    archive = packed(("top/good.jpg", b"good"), ("top/bad.jpg", kind))
    with pytest.raises(UserError, match=r"'top/bad\.jpg' is a link or device"):
        unpack(archive, "top", "*.jpg", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_hard_links_are_refused(tmp_path):
    write_tar(tmp_path / "a.tgz", [("top/bad.jpg", 1)])
    with pytest.raises(UserError, match="is a link or device"):
        unpack(tmp_path / "a.tgz", "top", "*.jpg", tmp_path / "out")


def test_a_member_behind_a_link_to_elsewhere_stays_inside(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    with tarfile.open(tmp_path / "a.tgz", "w:gz") as tarred:
        link = tarfile.TarInfo("top/folder")
        link.type, link.linkname = tarfile.SYMTYPE, str(outside)
        tarred.addfile(link)
        member = tarfile.TarInfo("top/folder/1.jpg")
        member.size = 3
        tarred.addfile(member, io.BytesIO(b"one"))
    unpack(tmp_path / "a.tgz", "top", "*/*.jpg", tmp_path / "out")
    assert not list(outside.iterdir())
    assert files_in(tmp_path / "out") == {"folder/1.jpg": b"one"}


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_that_comes_twice_is_refused(packed, tmp_path):
    with pytest.raises(UserError, match="twice"):
        unpack(packed(("top/1.jpg", b"one"), ("top/1.jpg", b"two")), "top", "*.jpg", tmp_path / "out")


def test_a_member_in_the_place_of_a_folder_is_one_clear_line(packed, tmp_path):
    with pytest.raises(UserError, match="can be unpacked"):
        unpack(packed(("top/a", b"file"), ("top/a/1.jpg", b"one")), "top", "*", tmp_path / "out")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 0.95])
def test_a_truncated_archive_is_one_clear_line(packed, tmp_path, share):
    archive = packed(*((f"top/{number}.jpg", bytes(range(256)) * 20) for number in range(20)))
    content = archive.read_bytes()
    archive.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(UserError, match="damaged archive"):
        unpack(archive, "top", "*.jpg", tmp_path / "out")


def test_flipped_bytes_are_one_clear_line_or_too_few_files_and_never_silent(packed, tmp_path):
    members = [(f"top/{number}.jpg", bytes([number]) * 3000) for number in range(5)]
    archive = packed(*members)
    content = archive.read_bytes()
    for place in range(10, len(content) - 1, 61):
        archive.write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
        out = tmp_path / f"out{place}"
        try:
            names = unpack(archive, "top", "*.jpg", out)
        except UserError as error:
            assert "\n" not in str(error)
        else:
            whole = {name.removeprefix("top/"): data for name, data in members}
            assert all(whole[name] == data for name, data in files_in(out).items()) or len(names) < len(members)


def test_what_is_no_archive_at_all_is_one_clear_line(tmp_path):
    (tmp_path / "page.zip").write_text("<html>not here</html>")
    with pytest.raises(UserError, match=r"page\.zip is a damaged archive"):
        unpack(tmp_path / "page.zip", "top", "*", tmp_path / "out")


def test_an_empty_name_is_one_clear_line_or_passed_over(tmp_path):
    """Python up to 3.12 trips over it, later ones don't."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as zipped:
        zipped.writestr("x", b"")
    content = (tmp_path / "a.zip").read_bytes()
    header = content.index(b"PK\x01\x02")
    # The length of the name, 28 bytes into the central directory's entry, becomes 0, and that of the comment takes its place.
    changed = bytearray(content)
    changed[header + 28], changed[header + 32] = 0, 1
    (tmp_path / "a.zip").write_bytes(changed)
    try:
        assert unpack(tmp_path / "a.zip", "top", "*", tmp_path / "out") == []
    except UserError as error:
        assert "damaged archive" in str(error)
    assert not (tmp_path / "out").exists()


def test_a_name_that_no_file_can_have_is_one_clear_line(packed, tmp_path):
    with pytest.raises(UserError, match="damaged archive"):
        unpack(packed((f"top/{'n' * 300}", b"one")), "top", "*", tmp_path / "out")


def test_a_full_disk_is_no_damage_of_the_archive(packed, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(archives.shutil, "copyfileobj", full)
    with pytest.raises(OSError, match="No space left"):
        unpack(packed(("top/1.jpg", b"one")), "top", "*", tmp_path / "out")
