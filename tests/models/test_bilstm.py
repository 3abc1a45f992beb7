"""The student model: its shape, its independence of padding and order, and its life as a transformers checkpoint."""

import json
import threading
from collections.abc import Iterator

import pytest
import torch
from accelerate.state import AcceleratorState
from datasets import Dataset
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from transformers import AutoModelForSequenceClassification, AutoTokenizer, Trainer, TrainerCallback, TrainingArguments

from bert_to_bilstm.models.bilstm import BiLSTMConfig, BiLSTMForSequenceClassification


@pytest.fixture
def model() -> BiLSTMForSequenceClassification:
    torch.manual_seed(0)
    return BiLSTMForSequenceClassification(BiLSTMConfig(vocab_size=100, num_labels=15, pooling="max")).eval()


def test_shape_is_the_articles(model):
    shapes = {name: tuple(weight.shape) for name, weight in model.named_parameters()}
    assert shapes["embedding.weight"] == (100, 512)
    assert shapes["forward_lstm.weight_hh_l0"] == shapes["backward_lstm.weight_hh_l0"] == (4 * 512, 512)
    assert shapes["classifier.weight"] == (15, 1024)
    assert not any("l1" in name for name in shapes)


@pytest.mark.parametrize("pooling", ["max", "final"])
def test_logits_are_those_of_one_bidirectional_lstm_over_packed_sequences(model, pooling):
    model.config.pooling = pooling
    lstm = torch.nn.LSTM(512, 512, batch_first=True, bidirectional=True)
    backward = {f"{name}_reverse": weight for name, weight in model.backward_lstm.state_dict().items()}
    lstm.load_state_dict(model.forward_lstm.state_dict() | backward)
    input_ids = torch.tensor([[7, 8, 9, 10], [11, 12, 0, 0], [13, 0, 0, 0]])
    packed = pack_padded_sequence(model.embedding(input_ids), torch.tensor([4, 2, 1]), batch_first=True)
    packed_states, (final, _) = lstm(packed)
    states, _ = pad_packed_sequence(packed_states, batch_first=True, padding_value=-torch.inf)
    pooled = states.max(1).values if pooling == "max" else torch.cat([final[0], final[1]], dim=1).tanh()
    expected = model.classifier(pooled)
    torch.testing.assert_close(model(input_ids, (input_ids != 0).long()).logits, expected)


def test_a_checkpoint_that_does_not_say_how_it_pools_keeps_the_final_states(model, tmp_path):
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config.pop("pooling") == "max"
    (tmp_path / "config.json").write_text(json.dumps(config))
    old, input_ids = BiLSTMForSequenceClassification.from_pretrained(tmp_path).eval(), torch.tensor([[7, 8, 9]])
    assert not old(input_ids).logits.allclose(model(input_ids).logits)
    model.config.pooling = "final"
    torch.testing.assert_close(old(input_ids).logits, model(input_ids).logits)


@pytest.mark.parametrize("rows", [[[5, 6, 7], [8], [9, 10]], [[8], [5, 6, 7, 11, 12]], [[8]]])
def test_a_sentence_has_the_same_logits_in_every_batch(model, rows):
    width = max(map(len, rows)) + 2
    input_ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    logits = model(input_ids, mask).logits
    for row, expected in zip(rows, logits, strict=True):
        torch.testing.assert_close(model(torch.tensor([row])).logits[0], expected)


def test_an_empty_sentence_is_one_unknown_token(model):
    unknown = model(torch.tensor([[1]])).logits
    torch.testing.assert_close(
        model(torch.tensor([[0, 0], [5, 6]]), torch.tensor([[0, 0], [1, 1]])).logits[:1], unknown
    )
    torch.testing.assert_close(model(torch.empty(1, 0, dtype=torch.long)).logits, unknown)


def test_loss_is_cross_entropy_and_needs_labels(model):
    input_ids, labels = torch.tensor([[5, 6], [7, 8]]), torch.tensor([3, 14])
    output = model(input_ids, labels=labels)
    torch.testing.assert_close(output.loss, torch.nn.functional.cross_entropy(output.logits, labels))
    assert model(input_ids).loss is None


@pytest.fixture
def two_cores() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float32])
def test_on_two_cores_each_direction_learns_in_a_thread_of_its_own_what_it_learns_on_one(model, precision, two_cores):
    input_ids, labels = torch.randint(2, 100, (8, 20)), torch.arange(8)
    threads: list[set[int]] = []

    def gradients(cores: int) -> list[torch.Tensor]:
        torch.set_num_threads(cores)
        model.zero_grad()
        threads.append(set())
        with torch.autocast("cpu", precision, enabled=precision != torch.float32):
            loss = model(input_ids, labels=labels).loss
        loss.backward()
        return [weight.grad.clone() for weight in model.parameters()]

    model.train()
    for lstm in (model.forward_lstm, model.backward_lstm):
        lstm.register_forward_hook(lambda *_: threads[-1].add(threading.get_ident()))
    torch.testing.assert_close(gradients(2), gradients(1))
    assert [len(used) for used in threads] == [2, 1]


def test_on_two_cores_weights_that_are_not_to_learn_stay(model, two_cores):
    model.train().forward_lstm.requires_grad_(False)
    model(torch.tensor([[5, 6]]), labels=torch.tensor([3])).loss.backward()
    assert model.forward_lstm.weight_hh_l0.grad is None and model.backward_lstm.weight_hh_l0.grad.norm() > 0


def test_a_checkpoint_of_the_run_loads_here(finished):
    directory = next((finished / "model3").glob("*-*"))
    model = AutoModelForSequenceClassification.from_pretrained(directory)
    assert isinstance(model, BiLSTMForSequenceClassification)
    assert model.config.id2label == {0: "100", 1: "103", 2: "109"}
    assert not list(directory.glob("*.bin")) and not list(directory.glob("*.pt"))
    tokens = AutoTokenizer.from_pretrained(directory).tokenize("為什麼 NBA 2018年 iphone Qwertz")
    assert "[UNK]" not in tokens


def test_new_tokens_can_be_added(model):
    model.resize_token_embeddings(103)
    assert model.embedding.weight.shape == (103, 512) and model.config.vocab_size == 103
    assert model(torch.tensor([[102]])).logits.shape == (1, 15)


def test_as_a_tuple_or_without_ids_it_answers_as_other_models_do(model):
    loss, logits = model(torch.tensor([[5]]), labels=torch.tensor([3]), return_dict=False)
    torch.testing.assert_close(cross_entropy(logits, torch.tensor([3])), loss)
    with pytest.raises(ValueError, match="does not take inputs_embeds"):
        model(inputs_embeds=torch.zeros(1, 2, 512))


def test_what_is_past_the_limit_is_not_read(model):
    model.config.max_position_embeddings = 3
    torch.testing.assert_close(model(torch.tensor([[5, 6, 7, 8, 9]])).logits, model(torch.tensor([[5, 6, 7]])).logits)


def test_classes_are_told_apart_in_fp32_whatever_the_precision(model):
    with torch.autocast("cpu", torch.bfloat16):
        assert model(torch.tensor([[5, 6]])).logits.dtype == torch.float32
    assert model.bfloat16()(torch.tensor([[5, 6]])).logits.dtype == torch.float32


@pytest.mark.parametrize("steps", [1, 4])
def test_trainer_takes_the_mean_of_the_batches_that_it_accumulates(model, steps, tmp_path):
    rows = Dataset.from_dict({"input_ids": [[5, 6], [7, 8], [9, 10], [11, 12]], "labels": [0, 1, 2, 3]})
    gradients = []

    class Look(TrainerCallback):
        def on_pre_optimizer_step(self, *_: object, **__: object) -> None:
            gradients.append(model.classifier.bias.grad.clone())

    arguments = TrainingArguments(
        tmp_path,
        per_device_train_batch_size=4 // steps,
        gradient_accumulation_steps=steps,
        max_steps=1,
        max_grad_norm=0,
        use_cpu=True,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
    )
    Trainer(model, arguments, train_dataset=rows, callbacks=[Look()]).train()
    AcceleratorState._reset_state(reset_partial_state=True)  # Trainer asks for another precision than we do
    model.zero_grad()
    model(torch.tensor(rows["input_ids"][:]), labels=torch.tensor(rows["labels"][:])).loss.backward()
    assert len(gradients) == 1 and gradients[0].norm() > 0
    torch.testing.assert_close(gradients[0].norm(), model.classifier.bias.grad.norm(), rtol=0.2, atol=1e-2)


@pytest.mark.parametrize("chance", [0.1, 0.5])
def test_dropout_leaves_out_its_share_in_training_alone_and_keeps_the_mean(model, chance):
    values = torch.ones(1000, 301)
    model.config.dropout = chance
    dropped, again = model.train().dropout(values), model.dropout(values)
    assert (dropped == 0).float().mean().item() == pytest.approx(chance, abs=0.005)
    assert dropped.mean().item() == pytest.approx(1, abs=0.005)
    assert not dropped.equal(again)
    assert model.eval().dropout(values).equal(values)
