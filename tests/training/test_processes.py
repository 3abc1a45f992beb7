"""The three trainings and the labelling on several processes: they are one training."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas
import pytest
import torch
from conftest import ROOT, Child
from datasets import load_from_disk
from small_set import load_as_trained

from bert_to_bilstm.models.checkpoints import best_checkpoint
from bert_to_bilstm.training.prediction import predict_logits

CONSTANTS = {
    "finetune_bert.MODEL_NAME": "bert",
    "finetune_bert.EPOCHS": 1,
    "finetune_bert.BATCH_SIZE": 32,
    "train_bilstm.EPOCHS": 2,
    "train_bilstm.BATCH_SIZE": 8,  # of which three processes have 3, 3 and 2: each sentence must count the same
    "train_bilstm.DROPOUT": 0.0,
    "train_bilstm.HIDDEN_SIZE": 128,
    "distill.HIDDEN_SIZE": 128,
    "distill.EPOCHS": 1,
    "distill.BATCH_SIZE": 64,
    "bert_to_bilstm.distillation.labelling.SHARD": 70,
}
STAGES = """
import importlib, sys
sys.path[:0] = [{root!r}, {tests!r}]
for name, value in {constants!r}.items():
    module, _, constant = name.rpartition(".")
    setattr(importlib.import_module(module), constant, value)
for stage in ("finetune_bert", "train_bilstm", "distill", "predict_test", "report"):
    importlib.import_module(stage).main()
"""


@pytest.fixture(scope="module")
def three_processes(finished_run, tmp_path_factory) -> tuple[Path, str]:
    """The folder in which three processes have run the stages, and what they printed. No batch is a multiple of 3."""
    directory = tmp_path_factory.mktemp("processes")
    for name in ("data", "bert"):
        (directory / name).symlink_to(finished_run / name)
    code = STAGES.format(root=str(ROOT), tests=str(ROOT / "tests"), constants=CONSTANTS)
    (directory / "stages.py").write_text(code, encoding="utf-8")
    # On a machine without a GPU it is --multi_gpu that makes accelerate start more than one process; they talk by gloo.
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "3"]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}  # fewer GPUs than processes would be shared
    result = subprocess.run(
        [*launch, "stages.py"], cwd=directory, env=environment, capture_output=True, text=True, timeout=600
    )
    assert result.returncode == 0, result.stderr
    return directory, result.stdout


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["model1", "model2", "model3"])
def test_one_process_agrees_with_the_accuracy_that_three_found(three_processes, monkeypatch, stage):
    monkeypatch.chdir(three_processes[0])
    valid = load_from_disk("data")["valid"]
    checkpoint = best_checkpoint(Path(stage), "")
    model, tokenizer = load_as_trained(checkpoint)
    predicted = predict_logits(model, tokenizer, valid["sentence"][:]).argmax(1)
    accuracy = (predicted == torch.tensor(valid["label"][:])).float().mean().item()
    assert f"{accuracy:.4f}" == checkpoint.name.split("-")[1]
    assert json.loads(Path(stage, "run.json").read_text())["processes"] == 3


@pytest.mark.slow
def test_the_loss_is_that_of_one_process_within_rounding(three_processes, finished_run, tmp_path):
    (tmp_path / "data").symlink_to(finished_run / "data")
    assert Child("train_bilstm", tmp_path, CONSTANTS).end()[0] == 0
    one, three = (pandas.read_csv(path / "model2/history.csv") for path in (tmp_path, three_processes[0]))
    assert three["train_loss"].tolist() == pytest.approx(one["train_loss"].tolist(), rel=5e-3)  # bf16


@pytest.mark.slow
def test_three_processes_give_the_logits_of_one_in_the_order_of_the_input(three_processes, tmp_path):
    for name in ("data", "model1"):
        (tmp_path / name).symlink_to(three_processes[0] / name)
    assert Child("distill", tmp_path, CONSTANTS).end()[0] == 0
    one, three = (load_from_disk(path / "knowledge") for path in (tmp_path, three_processes[0]))
    assert three["sentence"][:] == load_from_disk(three_processes[0] / "data")["train"]["sentence"][:]
    logits = torch.tensor(three["label"][:])
    assert logits.std(0).min() > 0.1  # of each class, over the sentences
    torch.testing.assert_close(logits, torch.tensor(one["label"][:]), atol=0.02, rtol=0)  # bf16


@pytest.mark.slow
def test_only_one_of_them_prints_and_writes(three_processes):
    directory, printed = three_processes
    assert printed.count("the rest is pretrained") == 1
    assert printed.count("30 predictions of model3/") == 2  # two test sets
    assert len((directory / "tnews11_predict.json").read_text().splitlines()) == 30
