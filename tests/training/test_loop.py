"""The loop that all three trainings share: batching, determinism, what it leaves, and reruns."""

import csv
import hashlib
import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.optim.optimizer import register_optimizer_step_pre_hook
from transformers import AutoTokenizer

import distill
import finetune_bert
import prepare_data
import train_bilstm
from benchmarks.measure import memory
from bert_to_bilstm.models.bilstm import BiLSTMForSequenceClassification, new_student
from bert_to_bilstm.text.dataset import load_labels
from bert_to_bilstm.training.batches import LengthGroupedBatches, make_loader
from bert_to_bilstm.training.device import make_accelerator
from bert_to_bilstm.training.loop import validate
from bert_to_bilstm.training.losses import LabelLoss


@pytest.fixture
def settings(monkeypatch):
    """Changes constants of train_bilstm for one test."""
    return lambda **constants: [monkeypatch.setattr(train_bilstm, name, value) for name, value in constants.items()]


@pytest.fixture
def prepared(small_tnews, settings):
    prepare_data.main()
    settings(BATCH_SIZE=64, EPOCHS=2, WARMUP_RATIO=0.0, OUTPUT=Path("model2"))
    return small_tnews


def test_batches_hold_every_index_once_and_little_padding():
    lengths = torch.randint(1, 60, (5000,), generator=torch.Generator().manual_seed(0)).tolist()
    batches = list(LengthGroupedBatches(torch.tensor(lengths), 32, seed=1))
    assert sorted(index for batch in batches for index in batch) == list(range(5000))
    padded = sum(len(batch) * max(lengths[index] for index in batch) for batch in batches)
    assert padded < 1.1 * sum(lengths)
    assert len(batches) == len(LengthGroupedBatches(torch.tensor(lengths), 32, seed=1))


def test_batches_differ_between_epochs_and_agree_between_runs():
    sampler = LengthGroupedBatches(torch.tensor([5] * 100), 8, seed=1)
    first = list(sampler)
    sampler.epoch = 2
    assert list(sampler) != first
    assert list(LengthGroupedBatches(torch.tensor([5] * 100), 8, seed=1)) == first


def test_short_epochs_take_every_index_once_before_any_again():
    sampler = LengthGroupedBatches(torch.arange(10), 4, seed=1, epoch_size=7)
    assert len(sampler) == 2
    taken = []
    for epoch in range(1, 11):
        sampler.epoch = epoch
        batches = list(sampler)
        assert sorted(map(len, batches)) == [3, 4]
        taken += [index for batch in batches for index in batch]
    assert sorted(taken) == sorted(list(range(10)) * 7)
    assert all(taken.count(index) == 7 for index in range(10))


def test_batches_for_prediction_start_with_the_longest():
    assert list(LengthGroupedBatches(torch.tensor([1, 3, 2, 3]), 2)) == [[1, 3], [2, 0]]


def test_loader_pads_cuts_and_replaces_empty_sentences(finished):
    tokenizer = AutoTokenizer.from_pretrained("data/tokenizer")
    tokenizer.model_max_length = 4
    batch = next(iter(make_loader(tokenizer, ["今天", " ", "今天今天今天"], [0, 1, 2], batch_size=3)))
    jin, tian = tokenizer.convert_tokens_to_ids(["今", "天"])
    assert batch["input_ids"].tolist() == [[jin, tian, jin, tian], [jin, tian, 0, 0], [1, 0, 0, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]]
    assert batch["labels"].tolist() == [2, 0, 1]


def test_every_epoch_leaves_a_checkpoint_and_a_row(prepared):
    train_bilstm.main()
    with open("model2/history.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert float(rows[1]["train_loss"]) < float(rows[0]["train_loss"])
    checkpoints = {path.name for path in Path("model2").iterdir() if path.is_dir() and not path.is_symlink()}
    assert checkpoints == {f"{row['epoch']}-{row['valid_accuracy']}" for row in rows}
    run = json.loads(Path("model2/run.json").read_text(encoding="utf-8"))
    assert run["settings"]["LEARNING_RATE"] == train_bilstm.LEARNING_RATE
    assert run["versions"]["torch"] == torch.__version__


def test_two_runs_give_the_same_checkpoints_byte_for_byte(prepared, settings):
    digests = []
    for name in ("first", "second"):
        settings(OUTPUT=Path(name))
        train_bilstm.main()
        files = sorted(path for path in Path(name).glob("*-*/*") if path.is_file())
        digests.append([(path.parent.name, path.name, hashlib.sha256(path.read_bytes()).digest()) for path in files])
    assert digests[0] == digests[1] and any(name == "model.safetensors" for _, name, _ in digests[0])


def test_a_rerun_says_that_it_is_finished(prepared, capsys):
    train_bilstm.main()
    history = Path("model2/history.csv").read_bytes()
    capsys.readouterr()
    train_bilstm.main()
    assert "model2/ is finished" in capsys.readouterr().out
    assert Path("model2/history.csv").read_bytes() == history


def test_other_settings_stop_with_what_differs_and_the_command(prepared, settings):
    train_bilstm.main()
    Path("model2-1").mkdir()
    settings(LEARNING_RATE=5e-4)
    with pytest.raises(SystemExit) as stop:
        train_bilstm.main()
    assert "LEARNING_RATE 0.002 → 0.0005" in stop.value.code
    assert "mv model2 model2-2" in stop.value.code


def test_other_data_stop_too(prepared):
    train_bilstm.main()
    lines = Path("tnews/train.json").read_text(encoding="utf-8").splitlines()
    Path("tnews/train.json").write_text("\n".join(lines[1:]), encoding="utf-8")
    with pytest.raises(SystemExit, match=r"model2/: trained on other data than data/ .* \(mv model2 model2-1\)"):
        prepare_data.main()
    with pytest.raises(SystemExit, match=r"other settings or data \(other data"):
        train_bilstm.main()


def test_a_folder_of_something_else_is_left_alone(prepared):
    Path("model2").mkdir()
    Path("model2/notes.txt").write_text("mine")
    with pytest.raises(SystemExit, match="mv model2 model2-1"):
        train_bilstm.main()
    assert [path.name for path in Path("model2").iterdir()] == ["notes.txt"]


def test_a_constant_schedule_goes_on_where_a_finished_run_ended(prepared, settings, capsys):
    settings(SCHEDULE="constant", OUTPUT=Path("whole"), EPOCHS=3)
    train_bilstm.main()
    settings(OUTPUT=Path("parts"), EPOCHS=2)
    train_bilstm.main()
    settings(EPOCHS=3)
    train_bilstm.main()
    assert "parts/ was stopped after epoch 2: going on from there." in capsys.readouterr().out
    whole, parts = (next(Path(name).glob("3-*/model.safetensors")).read_bytes() for name in ("whole", "parts"))
    assert whole == parts


@pytest.mark.parametrize("schedule", ["cosine", "constant_with_warmup"])
def test_other_schedules_do_not_go_on_and_say_why(prepared, settings, schedule):
    settings(SCHEDULE=schedule)
    train_bilstm.main()
    settings(EPOCHS=3)
    with pytest.raises(SystemExit, match="its learning rate was planned for them: for EPOCHS = 3, train anew"):
        train_bilstm.main()


def test_a_run_killed_after_its_last_epoch_and_before_its_row_of_history_gets_it(prepared, settings, capsys):
    settings(SCHEDULE="constant")  # which keeps its state
    train_bilstm.main()
    history = Path("model2/history.csv")
    whole = history.read_text()
    history.write_text("".join(whole.splitlines(keepends=True)[:-1]))
    train_bilstm.main()
    assert history.read_text() == whole
    train_bilstm.main()
    assert "model2/ is finished" in capsys.readouterr().out


def test_an_epoch_that_is_trained_again_takes_the_place_of_what_it_was(prepared, settings):
    settings(SCHEDULE="constant", EPOCHS=1)
    train_bilstm.main()
    (first,) = Path("model2").glob("1-*")
    shutil.copytree(first, "model2/2-0.9876")  # as a run leaves it that is killed before it saves its state
    settings(EPOCHS=2)
    train_bilstm.main()
    assert "2-0.9876" not in {path.name for path in Path("model2").iterdir()}
    assert len(list(Path("model2").glob("2-*"))) == 1


def test_training_drops_out_and_validation_does_not(prepared, settings):
    """Without dropout the loss of the first epoch is another; of one checkpoint the accuracy is always the same."""
    losses = []
    for name, dropout in (("with", 0.5), ("without", 0.0)):
        settings(EPOCHS=1, BATCH_SIZE=16, DROPOUT=dropout, OUTPUT=Path(name))
        train_bilstm.main()
        with open(f"{name}/history.csv", encoding="utf-8") as file:
            losses.append(float(next(csv.DictReader(file))["train_loss"]))
    assert losses[0] > losses[1] + 0.01
    model = new_student(AutoTokenizer.from_pretrained("data/tokenizer"), load_labels(), {}, 0.9)
    loader = make_loader(AutoTokenizer.from_pretrained("data/tokenizer"), ["今天", "中国"], [0, 1], 2)
    accelerator = make_accelerator()
    model.train()
    assert len({str(validate(accelerator, model, loader)) for _ in range(10)}) == 1
    assert not model.training


def test_every_epoch_is_trained_in_train_mode_and_no_validation_is(prepared):
    modes = []

    def note(module, _inputs):
        if isinstance(module, BiLSTMForSequenceClassification):
            modes.append((module.training, torch.is_grad_enabled()))

    with register_module_forward_pre_hook(note):
        train_bilstm.main()
    exported = (False, True)  # the best one, in the end
    assert modes == [*2 * (3 * [(True, True)] + [(False, False)]), exported]  # 150 sentences, 64 a batch; 60 of dev


def linear(progress: float) -> float:
    return 1 - progress


def cosine(progress: float) -> float:
    return (1 + math.cos(math.pi * progress)) / 2


@pytest.mark.parametrize(
    ("stage", "constants", "curve"),
    [
        (finetune_bert, {"MODEL_NAME": "bert"}, linear),
        (train_bilstm, {"SCHEDULE": "linear"}, linear),
        (train_bilstm, {"SCHEDULE": "cosine"}, cosine),
        (distill, {}, cosine),
    ],
    ids=["teacher", "student, linear", "student, cosine", "distilled student"],
)
def test_the_learning_rate_rises_over_a_share_of_the_steps_then_falls_to_0(
    finished, tmp_path, monkeypatch, stage, constants, curve
):
    common = {"WARMUP_RATIO": 0.2, "LEARNING_RATE": 1e-3, "EPOCHS": 4, "BATCH_SIZE": 30, "OUTPUT": tmp_path / "model"}
    for name, value in (common | constants).items():  # 4 epochs of 150 sentences: 20 steps
        monkeypatch.setattr(stage, name, value)
    rates = []
    with register_optimizer_step_pre_hook(lambda optimizer, *_: rates.append(optimizer.param_groups[0]["lr"])):
        stage.main()
    rise = [0, 2.5e-4, 5e-4, 7.5e-4]
    assert rates == pytest.approx(rise + [1e-3 * curve(step / 16) for step in range(16)])  # the 21st would be 0


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="it is Linux that tells the memory in use")
def test_memory_of_the_loader_does_not_grow_with_the_epochs(finished):
    tokenizer = AutoTokenizer.from_pretrained("data/tokenizer")
    loader = make_loader(tokenizer, ["今天手机芯片算法网络" * 2] * 20_000, [0] * 20_000, batch_size=100, seed=1)
    resident = []
    for epoch in range(1, 13):
        loader.batch_sampler.epoch = epoch
        assert sum(batch["rows"] for batch in loader) == 20_000
        resident.append(memory("VmRSS"))
    assert resident[-1] < resident[1] + 10  # MB; the batches of an epoch take 6


def test_a_run_that_failed_in_its_first_epoch_leaves_the_folder_free(prepared, settings):
    settings(LEARNING_RATE=1.0, OUTPUT=Path("model2"), BATCH_SIZE=8)
    with pytest.raises(SystemExit, match="lower LEARNING_RATE"), pytest.MonkeyPatch.context() as patch:
        patch.setattr(LabelLoss, "forward", lambda *_: torch.full((8,), torch.nan, requires_grad=True))
        train_bilstm.main()
    settings(LEARNING_RATE=1e-3)
    train_bilstm.main()  # obeyed
    assert len(list(Path("model2").glob("2-*"))) == 1


def test_a_link_to_nothing_is_told_before_training(prepared):
    Path("model2").symlink_to("nowhere")
    with pytest.raises(SystemExit, match="model2 is a link to nowhere, which is not there"):
        train_bilstm.main()
