"""The benchmark: its port of the article's loops and our own loop give the losses of the plain formulation."""

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from itertools import islice
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from conftest import ROOT
from datasets import Dataset, load_from_disk
from small_set import write_tnews
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader
from tqdm import tqdm
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase, get_scheduler

import distill
import finetune_bert
import prepare_data
import train_bilstm
from benchmarks import article, bench, sides
from benchmarks.measure import compare, in_a_child, in_turn, kind, machine
from bert_to_bilstm.models.bilstm import BiLSTMConfig, BiLSTMForSequenceClassification
from bert_to_bilstm.models.checkpoints import best_checkpoint, load_classifier
from bert_to_bilstm.text.dataset import load_labels
from bert_to_bilstm.training import device, loop
from bert_to_bilstm.training.batches import make_loader
from bert_to_bilstm.training.device import make_accelerator
from bert_to_bilstm.training.loop import train_epoch
from bert_to_bilstm.training.prediction import predict_logits

CPU = torch.device("cpu")


@pytest.fixture
def fp32(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No bf16, whatever the processor can do; accelerate remembers the precision it was first asked for."""
    AcceleratorState._reset_state(reset_partial_state=True)
    monkeypatch.setattr(device, "fast_bf16", lambda: False)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture
def rows(finished: Path) -> Dataset:
    return Dataset.from_dict(load_from_disk("data")["train"][:100])


class PlainStudent(nn.Module):
    """One sentence at a time, token by token, written out: `torch.nn.LSTM`'s documentation in code."""

    def __init__(self, weights: dict[str, Tensor], tokenizer: PreTrainedTokenizerBase) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.weights = nn.ParameterDict({name.replace(".", "-"): tensor.clone() for name, tensor in weights.items()})

    def final_state(self, embedded: Tensor, suffix: str) -> Tensor:
        w = {part: self.weights[f"lstm-{part}_l0{suffix}"] for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
        hidden = cell = torch.zeros(w["weight_hh"].shape[1])
        for token in embedded:
            gates = w["weight_ih"] @ token + w["bias_ih"] + w["weight_hh"] @ hidden + w["bias_hh"]
            enter, forget, candidate, leave = gates.chunk(4)
            cell = forget.sigmoid() * cell + enter.sigmoid() * candidate.tanh()
            hidden = leave.sigmoid() * cell.tanh()
        return hidden

    def forward(self, sentences: list[str]) -> Tensor:
        rows = []
        for sentence in self.tokenizer(sentences)["input_ids"]:
            embedded = self.weights["embedding-weight"][sentence]
            final = torch.cat([self.final_state(embedded, ""), self.final_state(embedded.flip(0), "_reverse")])
            rows.append(self.weights["classifier-weight"] @ final.tanh() + self.weights["classifier-bias"])
        return torch.stack(rows)


def plain_teacher(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Callable[[list[str]], Tensor]:
    """One sentence at a time, so without padding."""
    return lambda sentences: torch.cat([model(**tokenizer(text, return_tensors="pt")).logits for text in sentences])


def plain_losses(
    predict: Callable[[list[str]], Tensor], parameters: Iterable[Tensor], batches: list[dict], rates: list[float]
) -> list[float]:
    """Forward, backward and AdamW on each batch at each learning rate."""
    optimizer = torch.optim.AdamW(parameters)
    losses = []
    for batch, rate in zip(batches, rates, strict=True):
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        loss = cross_entropy(predict(batch["sentence"]), torch.tensor(batch["label"]))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def losses_of(loop: Iterator[float], rows: Dataset) -> tuple[list[float], list[dict]]:
    """The losses of an epoch of one of the article's loops, and its batches."""
    torch.manual_seed(0)
    numbers = [batch.tolist() for batch in DataLoader(range(len(rows)), article.BATCH_SIZE, shuffle=True)]
    torch.manual_seed(0)
    return list(islice(loop, len(numbers))), [rows[batch] for batch in numbers]


def our_losses(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: Dataset, rate: float
) -> tuple[list[float], list[dict]]:
    """The losses of an epoch of our loop, and its batches."""
    losses = []

    def recorded(logits: Tensor, labels: Tensor) -> Tensor:
        loss = cross_entropy(logits, labels, reduction="none")
        losses.append(loss.mean().item())
        return loss

    accelerator = make_accelerator()
    loader = make_loader(tokenizer, rows["sentence"], rows["label"], 16, seed=1)
    batches = [rows[batch] for batch in loader.batch_sampler]
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, fused=True)
    schedule = get_scheduler("constant", optimizer)
    model, optimizer = accelerator.prepare(model, optimizer)
    train_epoch(accelerator, model, loader, optimizer, schedule, recorded, 0.0, tqdm(disable=True))
    return losses, batches


@pytest.fixture
def fast_article(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The article's rate raised and its warm-up shortened, so that a few steps show them; the rate of each step."""
    for stage in ("STUDENT", "TEACHER"):
        monkeypatch.setattr(article, f"{stage}_LEARNING_RATE", 1e-3)
        monkeypatch.setattr(article, f"{stage}_WARMUP", 4)
    return [0.0003, 0.000475, 0.00065, 0.000825, 0.001, 0.001, 0.001]


def test_article_student_has_the_plain_losses(rows, fast_article):
    tokenizer = AutoTokenizer.from_pretrained("data/tokenizer")
    student = article.Student(len(tokenizer), classes=3, width=16)
    plain = PlainStudent(student.state_dict(), tokenizer)
    losses, batches = losses_of(article.train_student(student, tokenizer, rows, CPU), rows)
    assert losses == pytest.approx(plain_losses(plain, plain.parameters(), batches, fast_article), rel=1e-5)


def test_article_teacher_has_the_plain_losses(rows, fast_article):
    model, tokenizer = load_classifier(best_checkpoint(Path("model1"), "finetune_bert.py"), load_labels())
    copy = deepcopy(model)
    losses, batches = losses_of(article.train_teacher(model, tokenizer, rows, CPU), rows)
    plain = plain_teacher(copy, tokenizer)
    assert losses == pytest.approx(plain_losses(plain, copy.parameters(), batches, fast_article), rel=1e-4)


def test_our_student_has_the_plain_losses(rows, fp32):
    tokenizer = AutoTokenizer.from_pretrained("data/tokenizer")
    student = BiLSTMForSequenceClassification(
        BiLSTMConfig(len(tokenizer), embedding_size=16, hidden_size=16, num_labels=3)
    )
    weights = {
        re.sub(r"forward_lstm\.(.*)", r"lstm.\1", re.sub(r"backward_lstm\.(.*)", r"lstm.\1_reverse", name)): tensor
        for name, tensor in student.state_dict().items()
    }
    plain = PlainStudent(weights, tokenizer)
    losses, batches = our_losses(student, tokenizer, rows, 1e-3)
    assert losses == pytest.approx(plain_losses(plain, plain.parameters(), batches, [1e-3] * len(losses)), rel=1e-5)


def test_our_teacher_has_the_plain_losses(rows, fp32):
    model, tokenizer = load_classifier(best_checkpoint(Path("model1"), "finetune_bert.py"), load_labels())
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    copy = deepcopy(model)
    losses, batches = our_losses(model, tokenizer, rows, 1e-4)
    plain = plain_teacher(copy, tokenizer)
    assert losses == pytest.approx(plain_losses(plain, copy.parameters(), batches, [1e-4] * len(losses)), rel=1e-4)


def test_both_label_alike(rows, fp32):
    model, tokenizer = load_classifier(best_checkpoint(Path("model1"), "finetune_bert.py"), load_labels())
    sentences = rows["sentence"][:]
    with torch.no_grad():
        plain = plain_teacher(model, tokenizer)(sentences)
    torch.testing.assert_close(torch.cat(list(article.label(model, tokenizer, sentences, CPU))), plain)
    torch.testing.assert_close(predict_logits(model, tokenizer, sentences), plain)


def test_sides_take_turns():
    taken = []
    first, second = in_turn(lambda: taken.append("A") or 3.0, lambda: taken.append("B") or 4.0, rounds=3)
    assert taken == ["A", "B"] * 3
    assert (first, second) == ([3.0] * 3, [4.0] * 3)


def test_a_ratio_above_one_is_in_our_favour():
    rate = compare("training", "article", "sentences/s", ours=[90, 100, 300], other=[50, 40, 60], target=1.5)
    assert (rate["ours"], rate["ratio"]) == ({"median": 100, "min": 90, "max": 300}, 2)
    assert compare("to the best", "article", "s", ours=[10], other=[20, 40, 30])["ratio"] == 3


def test_rows_of_a_round_are_as_long_as_all_and_padded_as_little(finished):
    train = load_from_disk("data")["train"]
    rows = sides.some_rows(64, batch_size=16, out_of=256)
    mean = sum(map(len, train["sentence"])) / len(train)
    assert len(rows) == 64
    assert sum(map(len, rows["sentence"])) / 64 == pytest.approx(mean, rel=0.05)

    def padded(sentences: list[str]) -> float:
        """How much longer the batches of 16 are than their sentences."""
        lengths = sorted(map(len, sentences))
        return sum(len(lengths[n : n + 16]) * lengths[n : n + 16][-1] for n in range(0, len(lengths), 16)) / sum(
            lengths
        )

    assert padded(rows["sentence"][:]) == pytest.approx(padded(train["sentence"][:]), rel=0.02)
    assert padded(train["sentence"][:64]) > 1.02 * padded(train["sentence"][:])  # as 64 at random would be


def test_each_line_has_a_process_of_its_own():
    assert in_a_child(os.getpid) not in (os.getpid(), in_a_child(os.getpid))


def in_this_process(function: Callable, *arguments: object) -> list[dict]:
    """As `in_a_child`, where a test sees what is run."""
    AcceleratorState._reset_state(reset_partial_state=True)
    with pytest.MonkeyPatch.context() as patch:
        for module, names in {  # which a line may set
            device: ["fast_bf16"],
            finetune_bert: ["BATCH_SIZE"],
            train_bilstm: ["load_data", "EPOCHS", "OUTPUT"],
            loop: ["validate"],
            distill: ["load_data", *(name for name in vars(distill) if name.isupper())],
        }.items():
            for name in names:
                patch.setattr(module, name, getattr(module, name))
        return function(*arguments)


def test_every_line_is_measured_and_told(tmp_path, monkeypatch, capsys):
    """The whole of `make bench`, with little of everything, and its lines in this process."""
    write_tnews(tmp_path / "tnews")
    (tmp_path / "predict_test.py").symlink_to(ROOT / "predict_test.py")
    small = {"vocab_size": 400, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    few = {"batch_size": 16, "rows": 32, "steps": 2, "labelled": 64, "labelled_by_article": 32}
    constants = {
        bench: {
            "ROOT": tmp_path,
            "RESULTS": tmp_path / "results",
            "ROUNDS": 1,
            "STUDENT_ROWS": 64,
            "STUDENT_STEPS": 2,
            "CONFIGURATIONS": dict.fromkeys(bench.CONFIGURATIONS, small | {"intermediate_size": 64}),
            "TEACHERS": dict.fromkeys(bench.TEACHERS, few),
            "HEADLINES": 2,
            "STUDENT_HEADLINES": 64,
            "TEACHER_HEADLINES": 64,
            "SCALED_ROWS": 64,
            "MEMORY_ROWS": 64,
            "MEMORY_EPOCHS": 2,
            "UNLABELLED_SENTENCES": (500, 1000),
            "TRAIN_ROWS": (300, 600),
            "EPOCHS_TO_BEST": 1,
            "ARTICLE_BEST": 0.0,
            "in_a_child": in_this_process,
        },
        prepare_data: {name: getattr(prepare_data, name) for name in ("SOURCE", "read_char_table")},
    }
    for module, values in constants.items():
        for name, value in values.items():
            monkeypatch.setattr(module, name, value)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.chdir(tmp_path)
    bench.main()
    printed = capsys.readouterr().out
    result = json.loads((tmp_path / "results" / f"{kind(machine())}.json").read_text(encoding="utf-8"))
    for line in result["lines"]:
        assert line["what"] in printed
        if "ratio" in line:
            assert 0 < line["ours"]["min"] <= line["ours"]["median"] <= line["ours"]["max"]
            assert f"{line['ratio']:.2f}×" in printed
    assert len(result["lines"]) == 33 and "seconds_to_the_articles_best" in printed
    assert result["machine"]["torch"] == torch.__version__
