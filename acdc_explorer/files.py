"""Writing files so that a crash leaves the old file or the new one, and nothing else."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path


def user_cache() -> Path:
    """The package's folder in the user's cache: `acdc_explorer` in XDG_CACHE_HOME, or ~/.cache."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    # A relative one is to be ignored, by its specification.
    base = Path(given) if os.path.isabs(given) else Path("~/.cache").expanduser()
    return base / "acdc_explorer"


def check_writable(path: str | os.PathLike[str]) -> None:
    """Finds out whether `write_text` could write to a path, and writes nothing.

    Args:
        path: of a file that may or may not be there.

    Raises:
        ValueError: if it is no path or a folder's, its folder does not exist, or the file or its
            folder cannot be written to.
    """
    _target(path)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Writes a text file (UTF-8) whole or not at all, as `write_bytes` does.

    Args:
        path: of the file.
        text: all of it.

    Raises:
        ValueError: as `check_writable`; or if the text has what UTF-8 cannot hold.
        OSError: if writing fails, as on a full disk; the old file is then as it was.
    """
    check_writable(path)
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Writes a file whole or not at all.

    The content goes to a file of a name of its own in the same folder, which then takes the place
    of the old one. The old file's permissions are kept; if the path is a symbolic link, the file
    that it leads to is written and the link stays. What is no regular file, as a pipe, is written
    to where it is.

    Args:
        path: of the file.
        content: all of it.

    Raises:
        ValueError: as `check_writable`.
        OSError: if writing fails, as on a full disk; the old file is then as it was.
    """
    target = _target(path)
    if target.exists() and not target.is_file():
        target.write_bytes(content)
        return
    # Not of the target's name, which may be as long as a name can be.
    temporary = target.with_name(f".acdc_explorer-{secrets.token_hex(8)}.part")
    try:
        # "x": with the permissions that any new file gets, and never somebody else's file.
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            temporary.chmod(stat.S_IMODE(target.stat().st_mode))
        temporary.replace(target)
    finally:
        # Still there only if something failed or the user interrupted.
        temporary.unlink(missing_ok=True)


def _target(path: str | os.PathLike[str]) -> Path:
    """The file to write, symbolic links followed; raises ValueError as `check_writable` says."""
    if not isinstance(path, (str, os.PathLike)):
        raise ValueError(f"a file's path must be text or a Path; got {path!r}")
    shown = repr(os.fspath(path))
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise ValueError(f"cannot write {shown}: it is a folder; give the name of a file in it")
    if not target.parent.is_dir():
        raise ValueError(f"cannot write {shown}: there is no folder {str(target.parent)!r}")
    if target.exists() and not os.access(target, os.W_OK):
        raise ValueError(f"cannot write {shown}: the file is read-only")
    # Entering the folder needs the right to "execute" it.
    if not os.access(target.parent, os.W_OK | os.X_OK) and (
        not target.exists() or target.is_file()
    ):
        raise ValueError(
            f"cannot write {shown}: the folder {str(target.parent)!r} cannot be written to"
        )
    return target
