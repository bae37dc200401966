"""Who is at which row: a file beside the row's own for as long as a worker is at it.

So two sweeps on one folder share its rows. A claim is made by creating its file, which one process
alone can do, and its owner touches the file every few seconds. A claim whose process has ended, or,
on another machine, that was not touched for a while, is taken over. Should two processes take over
the same claim in the same moment, both search the row, and write the same file.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from acdc_explorer.checked_json import Value, read_json

HEARTBEAT_SECONDS = 5.0
# Without a sign of life. Clocks of machines that share a folder agree to within less.
STALE_SECONDS = 120.0
# For processes to end once they were told to.
_END_SECONDS = 5.0


@dataclass(frozen=True)
class Owner:
    """The process that is at a row.

    Attributes:
        host: the machine's name.
        pid: the process's number there.
        started: when that process started, as the machine has it: numbers are used again.
    """

    host: str
    pid: int
    started: float

    @staticmethod
    def this_process() -> Owner:
        """This very process."""
        process = psutil.Process()
        return Owner(socket.gethostname(), process.pid, process.create_time())

    def is_this_process(self) -> bool:
        """Whether it is this very process."""
        return (self.host, self.pid) == (socket.gethostname(), os.getpid())

    def is_child(self) -> bool:
        """Whether it is a living process that this one has started."""
        if self.host != socket.gethostname() or self.has_ended():
            return False
        return self.pid in {child.pid for child in psutil.Process().children()}

    def has_ended(self) -> bool | None:
        """Whether the process has ended; None if it is another machine's."""
        if self.host != socket.gethostname():
            return None
        try:
            process = psutil.Process(self.pid)
            is_same = abs(process.create_time() - self.started) < 1.0
            return not is_same or process.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True


def claim_path(path: Path) -> Path:
    """The file by which a row is claimed, be it there or not.

    Args:
        path: of the row's own file.
    """
    return path.with_suffix(".claim")


def owner_of(path: Path) -> Owner | None:
    """Who has claimed a row; None if nobody has, or is just about to.

    Args:
        path: of the row's own file.
    """
    try:
        value = Value(read_json(claim_path(path)))
        host, pid = value["host"].text(), value["pid"].whole(0)
        return Owner(host, pid, value["started"].number())
    except (OSError, ValueError):
        return None


def is_claimed(path: Path) -> bool:
    """Whether somebody is at a row who still gives signs of life.

    Args:
        path: of the row's own file.
    """
    try:
        age = time.time() - claim_path(path).stat().st_mtime
    except FileNotFoundError:
        return False
    owner = owner_of(path)
    if owner is not None and owner.has_ended():
        return False
    return age < STALE_SECONDS


def end_children(paths: Iterable[Path], *, by_force: bool) -> None:
    """Ends the processes that this one has started and that are at some rows.

    Args:
        paths: of the rows' own files.
        by_force: whether at once, be they stopped.
    """
    processes: list[psutil.Process] = []
    for owner in map(owner_of, paths):
        # It may end by itself at any moment.
        with suppress(psutil.NoSuchProcess):
            if owner is not None and owner.is_child():
                process = psutil.Process(owner.pid)
                processes.append(process)
                if by_force:
                    process.kill()
                else:
                    process.terminate()
    psutil.wait_procs(processes, timeout=_END_SECONDS)


class Claim:
    """A row that this process is at, until `release`."""

    def __init__(self, path: Path, watch: Callable[[], None]):
        """See `try_claim`."""
        self._row_path, self._path, self._watch = path, claim_path(path), watch
        self._released = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="sweep heartbeat", daemon=True)
        self._thread.start()

    def release(self) -> None:
        """Gives the row back, unless somebody took it over."""
        self._released.set()
        self._thread.join()
        if self._is_mine():
            self._path.unlink(missing_ok=True)

    def _is_mine(self) -> bool:
        owner = owner_of(self._row_path)
        return owner is not None and owner.is_this_process()

    def _beat(self) -> None:
        while not self._released.wait(HEARTBEAT_SECONDS):
            # It is gone if the folder is, and another's if somebody took the row over.
            with suppress(OSError):
                if self._is_mine():
                    os.utime(self._path)
            self._watch()


def try_claim(path: Path, watch: Callable[[], None] = lambda: None) -> Claim | None:
    """Claims a row, unless somebody else is at it.

    Args:
        path: of the row's own file.
        watch: called every few seconds, on another thread, while the row is claimed.

    Returns:
        The claim, or None.

    Raises:
        OSError: if no file can be made in the folder.
    """
    mine = claim_path(path)
    if mine.exists() and not is_claimed(path):
        mine.unlink(missing_ok=True)
    try:
        with mine.open("x", encoding="utf-8") as file:
            json.dump(asdict(Owner.this_process()), file)
    except FileExistsError:
        return None
    except OSError:
        # A full disk takes a file's name, but not what is in it.
        mine.unlink(missing_ok=True)
        raise
    return Claim(path, watch)
