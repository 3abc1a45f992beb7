"""`make torture`: what it calls the same, and a stage that is really killed."""

from pathlib import Path

import pytest
from conftest import Child

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


@pytest.mark.slow
def test_each_stage_has_a_line_with_the_kills_that_it_survived(tmp_path):
    constants = {"KILLS": 2, "ROWS": 30, "STAGES": ("prepare_data", "train_bilstm")}
    child = Child(
        "benchmarks.torture", tmp_path, {f"benchmarks.torture.{name}": one for name, one in constants.items()}
    )
    result = child.result()
    assert (result.returncode, result.stdout) == (0, "prepare_data 2 of 2\ntrain_bilstm 2 of 2\n")
    assert not list(tmp_path.iterdir())
