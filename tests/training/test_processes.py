"""The three trainings and the labelling on two processes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from datasets import load_from_disk

from bert_to_bilstm.distillation.labelling import neural_teacher
from bert_to_bilstm.models.checkpoints import best_checkpoint, load_classifier
from bert_to_bilstm.text.dataset import load_labels
from bert_to_bilstm.training.prediction import predict_logits

STAGES = """
import sys
sys.path[:0] = [{root!r}, {tests!r}]
import distill, finetune_bert, train_bilstm
from bert_to_bilstm.distillation import labelling
finetune_bert.MODEL_NAME, finetune_bert.EPOCHS, finetune_bert.BATCH_SIZE = "bert", 1, 32
train_bilstm.EPOCHS = distill.EPOCHS = 1
train_bilstm.BATCH_SIZE = distill.BATCH_SIZE = 64
labelling.SHARD = 70
for stage in (finetune_bert, train_bilstm, distill):
    stage.main()
"""


@pytest.fixture(scope="module")
def two_processes(finished_run, tmp_path_factory) -> tuple[Path, str]:
    """The folder in which two processes have run the three trainings, and what they printed."""
    directory = tmp_path_factory.mktemp("processes")
    for name in ("data", "bert"):
        (directory / name).symlink_to(finished_run / name)
    (directory / "stages.py").write_text(STAGES.format(root=str(ROOT), tests=str(ROOT / "tests")), encoding="utf-8")
    # On a machine without a GPU it is --multi_gpu that makes accelerate start more than one process; they talk by gloo.
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    command = [*launch, "stages.py"]
    result = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stderr
    return directory, result.stdout


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["model1", "model2", "model3"])
def test_one_process_agrees_with_the_accuracy_that_two_found(two_processes, monkeypatch, stage):
    monkeypatch.chdir(two_processes[0])
    valid = load_from_disk("data")["valid"]
    checkpoint = best_checkpoint(Path(stage), "")
    model, tokenizer = load_classifier(checkpoint, load_labels())
    predicted = predict_logits(model, tokenizer, valid["sentence"][:]).argmax(1)
    accuracy = (predicted == torch.tensor(valid["label"][:])).float().mean().item()
    assert f"{accuracy:.4f}" == checkpoint.name.split("-")[1]
    assert json.loads(Path(stage, "run.json").read_text())["processes"] == 2


@pytest.mark.slow
def test_two_processes_label_in_the_order_of_the_input(two_processes, monkeypatch):
    monkeypatch.chdir(two_processes[0])
    knowledge = load_from_disk("knowledge")
    assert knowledge["sentence"][:] == load_from_disk("data")["train"]["sentence"][:]
    logits = neural_teacher(best_checkpoint(Path("model1"), ""), load_labels())(knowledge["sentence"][:])
    torch.testing.assert_close(torch.tensor(knowledge["label"][:]), logits, atol=2e-2, rtol=2e-2)  # bf16


@pytest.mark.slow
def test_only_one_of_them_prints(two_processes):
    assert two_processes[1].count("the rest is pretrained") == 1
