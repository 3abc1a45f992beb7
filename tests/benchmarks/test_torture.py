"""`make torture`: what it calls the same, and a stage that is really killed."""

import tempfile
from pathlib import Path

import pytest
import torch

import train_bilstm  # noqa: F401  here: torch makes a folder where temporary ones are when it is imported
from benchmarks import torture
from benchmarks.torture import artifacts


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "made"
    (made / "model").mkdir(parents=True)
    (made / "model/history.csv").write_text("epoch,train_loss,valid_accuracy,seconds,samples_per_second\n1,2,0.5,7,8\n")
    (made / "model/best").symlink_to("1-0.5000")
    return made


def test_seconds_may_differ(folder):
    before = artifacts(folder)
    assert set(before) == {"model/history.csv", "model/best"}
    (folder / "model/history.csv").write_text(
        "epoch,train_loss,valid_accuracy,seconds,samples_per_second\n1,2,0.5,9,9\n"
    )
    assert artifacts(folder) == before


@pytest.mark.parametrize(
    "change",
    [
        lambda model: (model / "history.csv").write_text("epoch,train_loss\n1,3\n"),
        lambda model: (model / ".history.csv.tmp").touch(),
        lambda model: (model / "best").unlink(),
        lambda model: ((model / "best").unlink(), (model / "best").symlink_to("2-0.5000")),
    ],
    ids=["a loss", "a hidden file left behind", "no link", "a link that leads elsewhere"],
)
def test_all_else_may_not(folder, change):
    before = artifacts(folder)
    change(folder / "model")
    assert artifacts(folder) != before


@pytest.fixture
def few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Little to torture, in a temporary folder of its own."""
    for name, value in {"KILLS": 2, "ROWS": 30, "STAGES": ("prepare_data", "train_bilstm")}.items():
        monkeypatch.setattr(torture, name, value)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA cannot be used in a process forked from pytest's")
def test_each_stage_has_a_line_with_the_kills_that_it_survived(few, capfd):
    torture.main()
    assert capfd.readouterr().out == "prepare_data 2 of 2\ntrain_bilstm 2 of 2\n"
    assert not list(few.iterdir())


def test_a_stage_that_does_not_end_well_of_itself_is_told_with_what_it_printed(few, monkeypatch):
    monkeypatch.setitem(torture.CONSTANTS, "prepare_data", {"MINIMUM_COUNT": -1})
    with pytest.raises(SystemExit, match=r"prepare_data failed \(1\):\n.*MINIMUM_COUNT"):
        torture.main()
