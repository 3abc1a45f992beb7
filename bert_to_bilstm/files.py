"""How files are written: whole, under their final name, or not at all."""

import errno
import glob
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

GOES_ON = "the same command, given again, goes on with what is whole so far"
LFS_POINTER = b"version https://git-lfs.github.com/"
OF_THE_SYSTEM = (".DS_Store", "Thumbs.db", "desktop.ini")  # what file managers leave in every folder that they show
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
def new_directory(path: Path, ours: Iterable[str] = ()) -> Iterator[Path]:
    """Yields an empty temporary directory that takes the place of `path` when the block ends without an error.

    A link to a directory stays; what it points to is replaced. Raises SystemExit where `path` is a file or holds one
    that is neither in the new directory nor of the patterns `ours`, or the disk is full or may not be written to.
    """
    refuse_in_the_way([], [path])
    path = path.resolve()
    temporary, old = path.with_name(f".{path.name}.tmp"), path.with_name(f".{path.name}.old")
    refuse_in_the_way([], [temporary, old])
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            temporary.mkdir()
            yield temporary
            made = [file.relative_to(temporary) for file in temporary.rglob("*") if not file.is_dir()]
            ours = [*ours, *(glob.escape(str(file)) for file in made)]
            for replaced in (path, old):
                refuse_foreign_files(replaced, ours)
            if path.exists():  # a directory that is not empty cannot be replaced by a rename
                remove_files(old, ours)
                path.rename(old)
            temporary.rename(path)
        finally:
            if old.exists() and not path.exists():  # stopped between the two renames
                old.rename(path)
            shutil.rmtree(temporary, ignore_errors=True)
            remove_files(old, ours)


def foreign_files(directory: Path, ours: Iterable[str]) -> list[Path]:
    """The files and links under `directory` that no pattern of `ours` names, such as "*/state.json".

    What lies under a hidden name that ends in .tmp was left by a run of ours that was killed; what is OF_THE_SYSTEM is
    nobody's.
    """
    known = {path for pattern in ours for path in directory.glob(pattern)}
    return [
        path
        for path in sorted(directory.rglob("*"))
        if (path.is_symlink() or not path.is_dir())
        and path not in known
        and path.name not in OF_THE_SYSTEM
        and not any(re.fullmatch(r"\..+\.tmp", part) for part in path.relative_to(directory).parts)
    ]


def refuse_foreign_files(directory: Path, ours: Iterable[str]) -> None:
    """Raises SystemExit where `directory`, which is to be replaced, holds a file that no pattern of `ours` names."""
    if foreign := foreign_files(directory, ours):
        more = f" (and {len(foreign) - 1:,} more)" if len(foreign) > 1 else ""
        raise SystemExit(f"{foreign[0]}{more} is none of the files that are to be replaced there: move it away.")


def remove_files(directory: Path, ours: Iterable[str]) -> None:
    """Removes the files under `directory` that a pattern of `ours` names, and the directories that are empty then."""
    foreign = set(foreign_files(directory, ours))
    for path in sorted(directory.rglob("*"), reverse=True):  # what lies in a directory before the directory
        if path not in foreign:
            with suppress(OSError):
                path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    with suppress(OSError):
        directory.rmdir()


def refuse_in_the_way(files: Iterable[Path], directories: Iterable[Path]) -> None:
    """Raises SystemExit where a directory stands in the place of one of the `files` to be written, or the reverse."""
    for path in files:
        if path.is_dir():
            raise SystemExit(f"{path} is a directory where a file is to be written: move it away.")
    for path in directories:
        if path.is_symlink() and not path.exists():
            raise SystemExit(
                f"{path} is a link to {os.readlink(path)}, which is not there: make that or move the link."
            )
        if path.exists() and not path.is_dir():
            raise SystemExit(f"{path} is a file where a directory is to be written: move it away.")


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """Yields a file with a temporary name that takes the place of `path` when the block ends without an error.

    Raises SystemExit where the disk is full or may not be written to.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "wb") as file:
                yield file
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Writes `content` to `path` under a temporary name, then renames it."""
    with new_file(path) as file:
        file.write(content)


def write_text(path: Path, text: str) -> None:
    """Writes `text` to `path` as UTF-8 under a temporary name, then renames it."""
    write_bytes(path, text.encode("utf-8"))


def read_json(path: Path) -> Any:
    """What stands in a JSON file, or None where there is none that can be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def refuse_lfs_pointer(path: Path) -> None:
    """Raises SystemExit where `path` is the pointer that a clone without git-lfs has in place of a large file."""
    with suppress(OSError), open(path, "rb") as file:
        if file.read(len(LFS_POINTER)) == LFS_POINTER:
            raise SystemExit(
                f"{path} is a pointer of git-lfs, not the file itself: run git lfs pull in the clone it came from."
            )


def expand(path: str | Path) -> Path:
    """The path with its `~` as the user's home."""
    return Path(os.path.expanduser(path))  # pathlib's own raises where there is no such user


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
