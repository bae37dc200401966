"""Files are written whole or not at all."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import textwrap
import threading

import pytest

from acdc_explorer.files import check_writable, write_text


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_text_is_written_and_nothing_else_is_left(tmp_path):
    path = tmp_path / "file.txt"
    for text in ("first\n", "second\r\nL1H0 → L2H1"):
        write_text(path, text)
        assert path.read_bytes() == text.encode()
    write_text(str(path), "")
    assert path.read_bytes() == b""
    assert names(tmp_path) == ["file.txt"]


@pytest.mark.parametrize("where", ["before the file is flushed", "before it is put in place"])
def test_a_killed_process_leaves_the_old_file(tmp_path, where):
    path = tmp_path / "file.txt"
    path.write_text("old")
    code = f"""
        import os, signal
        from acdc_explorer import files

        def die(*arguments):
            os.kill(os.getpid(), signal.SIGKILL)

        {"files.os.fsync" if "flushed" in where else "files.Path.replace"} = die
        files.write_text({str(path)!r}, "new" * 100_000)
    """
    result = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=False)
    assert result.returncode == -9
    assert path.read_text() == "old"


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
@pytest.mark.parametrize("name", ["fsync", "replace"])
def test_a_failure_leaves_the_old_file_alone(tmp_path, monkeypatch, error, name):
    path = tmp_path / "file.txt"
    path.write_text("old")

    def fail(*arguments):
        raise error

    monkeypatch.setattr(
        *(("os.fsync", fail) if name == "fsync" else ("pathlib.Path.replace", fail))
    )
    with pytest.raises(type(error)):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file.txt"]


def test_text_that_utf8_cannot_hold_makes_no_file(tmp_path):
    with pytest.raises(ValueError, match="surrogates"):
        write_text(tmp_path / "file.txt", "\ud800")
    assert names(tmp_path) == []


def test_savers_at_the_same_time_do_not_mix(tmp_path):
    path = tmp_path / "file.txt"
    texts = [letter * 200_000 for letter in "abcd"]
    failed: list[BaseException] = []

    def save(text: str) -> None:
        try:
            for _ in range(10):
                write_text(path, text)
                assert path.read_text() in texts
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=save, args=(text,)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert names(tmp_path) == ["file.txt"]


def test_permissions_are_the_old_files_or_the_umasks(tmp_path):
    path = tmp_path / "file.txt"
    before = os.umask(0o027)
    try:
        write_text(path, "new")
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        path.chmod(0o604)
        write_text(path, "newer")
        assert stat.S_IMODE(path.stat().st_mode) == 0o604
    finally:
        os.umask(before)


def test_a_link_stays_and_its_target_is_written(tmp_path):
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there" / "file.txt", tmp_path / "link"
    link.symlink_to(target)
    for text in ("new", "newer"):
        write_text(link, text)
        assert link.is_symlink()
        assert target.read_text() == text
    assert names(tmp_path / "there") == ["file.txt"]


def test_what_is_no_regular_file_is_not_replaced():
    write_text(os.devnull, "text")
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)


@pytest.mark.parametrize("write", [check_writable, lambda path: write_text(path, "new")])
def test_where_nothing_can_be_written(tmp_path, write):
    with pytest.raises(ValueError, match="it is a folder; give the name of a file in it"):
        write(tmp_path)
    with pytest.raises(ValueError, match=r"no/file\.txt': there is no folder '.*no'"):
        write(tmp_path / "no" / "file.txt")
    (tmp_path / "a file").write_text("old")
    with pytest.raises(ValueError, match=r"there is no folder '.*a file'"):
        write(tmp_path / "a file" / "file.txt")
    with pytest.raises(ValueError, match="must be text or a Path; got 3"):
        write(3)
    assert names(tmp_path) == ["a file"]


@pytest.mark.parametrize("write", [check_writable, lambda path: write_text(path, "new")])
def test_where_the_user_may_not_write(tmp_path, monkeypatch, write):
    # No permission bit stops root, who may run these tests.
    allowed = os.access
    path = tmp_path / "file.txt"
    path.write_text("old")
    for forbidden, message in ((path, "the file is read-only"), (tmp_path, "cannot be written to")):
        monkeypatch.setattr(
            "os.access",
            lambda place, mode, forbidden=forbidden: place != forbidden and allowed(place, mode),
        )
        with pytest.raises(ValueError, match=message):
            write(path)
    assert path.read_text() == "old"


def test_to_check_writes_nothing(tmp_path):
    check_writable(tmp_path / "file.txt")
    assert names(tmp_path) == []
    (tmp_path / "file.txt").write_text("old")
    check_writable(tmp_path / "file.txt")
    assert (tmp_path / "file.txt").read_text() == "old"
