"""What the tests share: no HanLP and no hub unless a test asks for them, and one finished run of all stages.

The process that shares the files out to others imports this file, too, and so nothing that takes seconds.
"""

import csv
import hashlib
import importlib
import itertools
import multiprocessing
import os
import pkgutil
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
from multiprocessing import forkserver
from pathlib import Path
from typing import NamedTuple

import pytest

# With a wrong path pyhanlp stops at once, in place of downloading 600 MB; huggingface_hub reads its variable once.
# One thread each: the tests are small, and two processes of two threads on two cores wait for each other.
os.environ |= {
    "OMP_NUM_THREADS": "1",
    "HANLP_JAR_PATH": "/missing/hanlp.jar",
    "HANLP_STATIC_ROOT": "/missing",
    "HF_HUB_OFFLINE": "1",
}

from chromium import chromium  # noqa: F401  a fixture
from java_stub import java_stub  # noqa: F401  a fixture

ROOT = Path(__file__).resolve().parent.parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first: shared out last, one would keep a process after the others have ended."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def small_tnews(scratch: Path) -> Path:
    """A working directory with a small generated `tnews/`."""
    from small_set import write_tnews

    write_tnews(scratch / "tnews")
    return scratch


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory in which all stages have run; to be read, not written."""
    from small_set import run_stages, write_tnews

    directory = tmp_path_factory.mktemp("finished")
    write_tnews(directory / "tnews")
    before = Path.cwd()
    os.chdir(directory)
    try:
        run_stages()
    finally:
        os.chdir(before)
    return directory


@pytest.fixture
def finished(finished_run: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`finished_run` as the working directory."""
    monkeypatch.chdir(finished_run)
    return finished_run


# A server that has imported the stages and from which processes fork: each starts in no time, in place of 5 seconds.
FORKSERVER = multiprocessing.get_context("forkserver")
if sys.platform != "darwin":  # whose GPU cannot be used in a process forked from one that has asked for it
    FORKSERVER.set_forkserver_preload(["conftest", "small_set"])


class Fault(NamedTuple):
    """What befalls a child process: a signal, when a function is called for the n-th time."""

    owner: str  # a module or a class: "torch", "bert_to_bilstm.distillation.labelling:Dataset"
    function: str
    call: int = 1
    sends: int = signal.SIGKILL


class Child:
    """A stage in a process of its own, with constants such as {"distill.EPOCHS": 1} set; or a script, by its path."""

    def __init__(
        self,
        stage: str | Path,
        directory: Path,
        constants: dict[str, object] | None = None,
        fault: Fault | None = None,
        arguments: tuple[str, ...] = (),
    ) -> None:
        self.printed = Path(tempfile.mkdtemp())
        given = (stage, directory, constants or {}, fault, self.printed, arguments)
        self.process = FORKSERVER.Process(target=run_in_child, args=given)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{ROOT / 'tests'}")  # where the server finds what it imports
            forkserver.ensure_running()
        self.process.start()

    def result(self) -> subprocess.CompletedProcess[str]:
        """Waits for the end; the exit status is minus the number of the signal where one ended it."""
        self.process.join(300)
        out, err = ((self.printed / name).read_text(encoding="utf-8") for name in ("out", "err"))
        shutil.rmtree(self.printed)
        return subprocess.CompletedProcess([], self.process.exitcode, out, err)

    def end(self) -> tuple[int, str]:
        """Waits for the end; the exit status and the last line of standard error."""
        result = self.result()
        return result.returncode, (result.stderr.splitlines() or [""])[-1]


def run_in_child(
    stage: str | Path,
    directory: Path,
    constants: dict[str, object],
    fault: Fault | None,
    printed: Path,
    arguments: tuple[str, ...],
) -> None:
    os.chdir(directory)
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(printed / name, os.O_WRONLY | os.O_CREAT), number)
    for name, value in constants.items():
        module, _, constant = name.rpartition(".")
        setattr(importlib.import_module(module), constant, value)
    if fault:
        owner = pkgutil.resolve_name(fault.owner)
        original, calls = getattr(owner, fault.function), itertools.count(1)

        def wrapper(*arguments: object, **keywords: object) -> object:
            if next(calls) == fault.call:
                os.kill(os.getpid(), fault.sends)
            return original(*arguments, **keywords)

        setattr(owner, fault.function, wrapper)
    if isinstance(stage, Path):
        sys.argv = [str(stage), *arguments]
        runpy.run_path(str(stage), run_name="__main__")
    else:
        importlib.import_module(stage).main()


def outcome(directory: Path) -> dict[str, object]:
    """Digests of all files, where links lead, and history.csv without its two timing columns."""
    result: dict[str, object] = {}
    for path in sorted(directory.rglob("*")):
        if path.name == "history.csv":
            with open(path, encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
            kept = tuple((row["epoch"], row["train_loss"], row["valid_accuracy"]) for row in rows)
            result[str(path.relative_to(directory))] = kept
        elif path.is_symlink():
            result[str(path.relative_to(directory))] = os.readlink(path)
        elif path.is_file() and path.name != "state.json":  # of the knowledge: how it is spread over files
            result[str(path.relative_to(directory))] = hashlib.sha256(path.read_bytes()).hexdigest()
    return result


def run_script(name: str, directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A script as its users run it."""
    return Child(ROOT / name, directory, arguments=arguments).result()
