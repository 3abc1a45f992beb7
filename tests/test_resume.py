"""Runs that are killed, really, with SIGKILL, and what they have lost: nothing."""

import csv
import hashlib
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

# A child process that runs a stage and kills itself when a function is called for the n-th time.
CHILD = """
import itertools, os, signal, sys
from pathlib import Path
sys.path.insert(0, {root!r})
import accelerate, safetensors.torch, shutil, torch, transformers
import distill, finetune_bert, labelling, train_bilstm, training
from training import MulticlassAccuracy
finetune_bert.MODEL_NAME, finetune_bert.EPOCHS, finetune_bert.BATCH_SIZE = "bert", 3, 32
train_bilstm.EPOCHS, train_bilstm.BATCH_SIZE = 3, 64
distill.EPOCHS, distill.BATCH_SIZE, labelling.SHARD = 1, 64, 100
distill.AUGMENTATIONS, distill.KNOWLEDGE = 1, Path("new-knowledge")
{stage}.OUTPUT = Path("out")
owner, name, number = {kill}
if number:
    original, calls = getattr(owner, name), itertools.count(1)
    def wrapper(*arguments, **keywords):
        if next(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **keywords)
    setattr(owner, name, wrapper)
{stage}.main()
"""


def run(directory: Path, stage: str, kill: str = "None, '', 0") -> int:
    code = CHILD.format(root=str(ROOT), stage=stage, kill=kill)
    return subprocess.run([sys.executable, "-c", code], cwd=directory, capture_output=True, timeout=600).returncode


def outcome(directory: Path) -> dict[str, object]:
    """Digests of all files, and history.csv without its two timing columns."""
    result: dict[str, object] = {}
    for path in sorted(directory.rglob("*")):
        if path.name == "history.csv":
            with open(path, encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
            result["history"] = [(row["epoch"], row["train_loss"], row["valid_accuracy"]) for row in rows]
        elif path.is_file() and path.name != "state.json":  # of the knowledge: how it is spread over files
            result[str(path.relative_to(directory))] = hashlib.sha256(path.read_bytes()).hexdigest()
    return result


@pytest.fixture(scope="module")
def workplace(finished_run, tmp_path_factory):
    """Folders with what the stages need, and what a run that is never killed leaves there."""
    undisturbed: dict[str, dict] = {}

    def make(stage: str) -> tuple[Path, dict]:
        def folder() -> Path:
            directory = tmp_path_factory.mktemp(stage)
            for name in ("data", "bert", "model1"):
                (directory / name).symlink_to(finished_run / name)
            return directory

        if stage not in undisturbed:
            directory = folder()
            assert run(directory, stage) == 0
            undisturbed[stage] = outcome(directory / "out") | outcome(directory / "new-knowledge")
        return folder(), undisturbed[stage]

    return make


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "kill"),
    [
        pytest.param("train_bilstm", "torch.optim.lr_scheduler.LambdaLR, 'step', 8", id="training"),
        pytest.param("finetune_bert", "torch.optim.lr_scheduler.LambdaLR, 'step', 15", id="training with dropout"),
        pytest.param("train_bilstm", "MulticlassAccuracy, 'update', 2", id="validation"),
        pytest.param(
            "train_bilstm", "transformers.PreTrainedTokenizerBase, 'save_pretrained', 2", id="writing a checkpoint"
        ),
        pytest.param("train_bilstm", "torch, 'save', 2", id="between checkpoint and state"),
        pytest.param("train_bilstm", "training, 'write_history', 2", id="between state and history"),
        pytest.param("train_bilstm", "training.shutil, 'rmtree', 5", id="removing the older state"),
        pytest.param("distill", "labelling, 'mean_logits', 3", id="labelling"),
        pytest.param("distill", "labelling.Dataset, 'save_to_disk', 6", id="writing the knowledge"),
    ],
)
def test_a_killed_run_ends_as_if_it_had_not_been(workplace, stage, kill):
    directory, expected = workplace(stage)
    assert run(directory, stage, kill) == -signal.SIGKILL
    assert run(directory, stage) == 0
    assert outcome(directory / "out") | outcome(directory / "new-knowledge") == expected


def test_ctrl_c_says_how_to_go_on(workplace):
    directory, _ = workplace("train_bilstm")
    code = CHILD.format(root=str(ROOT), stage="train_bilstm", kill="None, '', 0").replace("3, 64", "1000, 64")
    child = subprocess.Popen([sys.executable, "-c", code], cwd=directory, stderr=subprocess.PIPE, text=True)
    while "out 2/1000" not in (line := child.stderr.read(20)):
        assert line
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=60)
    assert child.returncode == 1
    assert errors.splitlines()[-1] == ("stopped; the same command, given again, goes on after the last whole epoch.")
