"""Runs that are killed, really, with SIGKILL, and what they have lost: nothing."""

import os
import signal
from pathlib import Path

import pandas
import pytest
from conftest import Child, Fault, outcome

SETTINGS = {
    "finetune_bert.MODEL_NAME": "bert",
    "finetune_bert.EPOCHS": 3,
    "finetune_bert.BATCH_SIZE": 16,
    "train_bilstm.EPOCHS": 3,
    "train_bilstm.BATCH_SIZE": 50,
    "train_bilstm.KEEP_CHECKPOINTS": 1,
    "distill.EPOCHS": 1,
    "distill.BATCH_SIZE": 50,
    "distill.AUGMENTATIONS": 1,
    "bert_to_bilstm.distillation.labelling.SHARD": 50,
}


def run(directory: Path, stage: str, fault: Fault | None = None) -> int | None:
    """The exit status of `stage`, which writes out/ and perhaps new-knowledge/."""
    places = {f"{stage}.OUTPUT": Path("out"), "distill.KNOWLEDGE": Path("new-knowledge")}
    status, _ = Child(stage, directory, SETTINGS | places, fault).end()
    return status


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
    ("stage", "fault"),
    [
        pytest.param("train_bilstm", Fault("torch.optim.lr_scheduler:LambdaLR", "step", 8), id="training"),
        pytest.param(
            "finetune_bert", Fault("torch.optim.lr_scheduler:LambdaLR", "step", 15), id="training with dropout"
        ),
        pytest.param("train_bilstm", Fault("bert_to_bilstm.training.loop", "gather_object", 2), id="validation"),
        pytest.param(
            "train_bilstm",
            Fault("transformers:PreTrainedTokenizerBase", "save_pretrained", 2),
            id="writing a checkpoint",
        ),
        pytest.param("train_bilstm", Fault("torch", "save", 2), id="between checkpoint and state"),
        pytest.param("train_bilstm", Fault("pandas:DataFrame", "to_csv", 2), id="between state and history"),
        pytest.param(
            "train_bilstm", Fault("bert_to_bilstm.training.run", "remove_states", 2), id="removing the older state"
        ),
        pytest.param("train_bilstm", Fault("bert_to_bilstm.training.run:Run", "clean_up", 2), id="before cleaning up"),
        pytest.param("train_bilstm", Fault("bert_to_bilstm.training.run:Run", "clean_up", 3), id="after the last row"),
        pytest.param("train_bilstm", Fault("bert_to_bilstm.training.run:Run", "conclude"), id="before the last line"),
        pytest.param("distill", Fault("bert_to_bilstm.training.run:Run", "conclude"), id="before model.onnx"),
        pytest.param("distill", Fault("bert_to_bilstm.distillation.labelling:Ensemble", "logits", 3), id="labelling"),
        pytest.param(
            "distill",
            Fault("bert_to_bilstm.distillation.labelling:Dataset", "save_to_disk", 6),
            id="writing the knowledge",
        ),
    ],
)
def test_a_killed_run_ends_as_if_it_had_not_been(workplace, stage, fault):
    directory, expected = workplace(stage)
    assert run(directory, stage, fault) == -signal.SIGKILL
    assert run(directory, stage) == 0
    assert outcome(directory / "out") | outcome(directory / "new-knowledge") == expected


def test_the_best_that_history_names_is_there_until_the_next_state_is(workplace):
    """And under the name of `best`, long before the end. Where the epoch that is repeated comes out otherwise, as on
    another machine, it may be the best of all.
    """
    directory, _ = workplace("train_bilstm")
    assert run(directory, "train_bilstm", Fault("torch", "save", 2)) == -signal.SIGKILL
    [row] = pandas.read_csv(directory / "out/history.csv", dtype=str).to_dict("records")
    best = f"{row['epoch']}-{row['valid_accuracy']}"
    assert (directory / "out" / best / "model.safetensors").exists()
    assert os.readlink(directory / "out/best") == best
    (rest,) = (directory / "out").glob("2-*")
    rest.rename(rest.with_name("2-0.9999"))  # otherwise it comes out
    assert run(directory, "train_bilstm", Fault("torch", "save")) == -signal.SIGKILL
    assert os.readlink(directory / "out/best") == best


def test_what_a_user_has_called_best_stays(workplace):
    directory, expected = workplace("train_bilstm")
    (directory / "out/best").mkdir(parents=True)
    (directory / "out/run.json").write_text('{"settings": {"EPOCHS": 3}}')  # of a run that failed in its first epoch
    result = Child("train_bilstm", directory, SETTINGS | {"train_bilstm.OUTPUT": Path("out")}).result()
    assert result.returncode == 0
    assert f"out/best is no link of ours: it stays, and does not lead to {expected['best']}, the best." in result.stdout
    assert (directory / "out/best").is_dir() and not list((directory / "out").glob(".best*"))
