"""What the tests share: no HanLP and no hub unless a test asks for them, and one finished run of all stages."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

# With a wrong path pyhanlp stops at once, in place of downloading 600 MB; huggingface_hub reads its variable once.
os.environ |= {"HANLP_JAR_PATH": "/missing/hanlp.jar", "HANLP_STATIC_ROOT": "/missing", "HF_HUB_OFFLINE": "1"}

from small_set import run_stages, write_tnews

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def small_tnews(scratch: Path) -> Path:
    """A working directory with a small generated `tnews/`."""
    write_tnews(scratch / "tnews")
    return scratch


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory in which all stages have run; to be read, not written."""
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


def run_script(name: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """A stage as its users run it, in a process of its own."""
    return subprocess.run([sys.executable, ROOT / name], cwd=directory, capture_output=True, text=True, timeout=600)
