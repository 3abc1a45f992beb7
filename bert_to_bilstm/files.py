"""How files are written: whole, under their final name, or not at all."""

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

GOES_ON = "the same command, given again, goes on with what is whole so far"
DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raises SystemExit, naming `path`, where the disk is full or may not be written to."""
    try:
        yield
    except Exception as error:
        number = disk_error(error)
        if number is None:
            raise
        remedy = "make room" if number in (errno.ENOSPC, errno.EDQUOT) else "allow writing"
        raise SystemExit(f"{path} could not be written ({os.strerror(number)}): {remedy} there; {GOES_ON}.") from None


def disk_error(error: BaseException | None) -> int | None:
    """The system's number where `error`, or one on the way to it, says that the disk does not take more."""
    while error:
        number = getattr(error, "errno", None)
        if in_text := re.search(r"os error (\d+)", str(error)):  # as the libraries written in Rust give it
            number = int(in_text[1])
        if number in DISK_ERRORS:
            return number
        error = error.__context__
    return None


@contextmanager
def new_directory(path: Path) -> Iterator[Path]:
    """Yields an empty temporary directory that takes the place of `path` when the block ends without an error.

    A link to a directory stays; what it points to is replaced. Raises SystemExit where `path` is a file, or the disk is
    full or may not be written to.
    """
    refuse_in_the_way([], [path])
    path = path.resolve()
    temporary, old = path.with_name(f".{path.name}.tmp"), path.with_name(f".{path.name}.old")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            temporary.mkdir()
            yield temporary
            if path.exists():  # a directory that is not empty cannot be replaced by a rename
                shutil.rmtree(old, ignore_errors=True)
                path.rename(old)
            temporary.rename(path)
        finally:
            if old.exists() and not path.exists():  # stopped between the two renames
                old.rename(path)
            shutil.rmtree(temporary, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)


def refuse_in_the_way(files: Iterable[Path], directories: Iterable[Path]) -> None:
    """Raises SystemExit where a directory stands in the place of one of the `files` to be written, or the reverse."""
    for path in files:
        if path.is_dir():
            raise SystemExit(f"{path} is a directory where a file is to be written: move it away.")
    for path in directories:
        if path.exists() and not path.is_dir():
            raise SystemExit(f"{path} is a file where a directory is to be written: move it away.")


def write_bytes(path: Path, content: bytes) -> None:
    """Writes `content` to `path` under a temporary name, then renames it.

    Raises SystemExit where the disk is full or may not be written to.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_bytes(content)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes `text` to `path` as UTF-8 under a temporary name, then renames it."""
    write_bytes(path, text.encode("utf-8"))


def read_json(path: Path) -> Any:
    """What stands in a JSON file, or None where there is none that can be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def first_line(error: Exception) -> str:
    """What an error says, in one line."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def file_fingerprint(path: Path) -> str:
    """A digest of the bytes of a file. Raises SystemExit where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]
    except OSError as error:
        raise SystemExit(f"{path} cannot be read ({error.strerror}): run the stage that wrote it again.") from None


def umask() -> int:
    """The permissions that new files of this process do not get."""
    current = os.umask(0)
    os.umask(current)
    return current
