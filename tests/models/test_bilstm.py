"""The student model: its shape, its independence of padding and order, and its life as a transformers checkpoint."""

import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from bert_to_bilstm.models.bilstm import BiLSTMConfig, BiLSTMForSequenceClassification


@pytest.fixture
def model() -> BiLSTMForSequenceClassification:
    torch.manual_seed(0)
    return BiLSTMForSequenceClassification(BiLSTMConfig(vocab_size=100, num_labels=15)).eval()


def test_shape_is_the_articles(model):
    shapes = {name: tuple(weight.shape) for name, weight in model.named_parameters()}
    assert shapes["embedding.weight"] == (100, 512)
    assert shapes["forward_lstm.weight_hh_l0"] == shapes["backward_lstm.weight_hh_l0"] == (4 * 512, 512)
    assert shapes["classifier.weight"] == (15, 1024)
    assert not any("l1" in name for name in shapes)


def test_logits_are_those_of_one_bidirectional_lstm_over_packed_sequences(model):
    lstm = torch.nn.LSTM(512, 512, batch_first=True, bidirectional=True)
    backward = {f"{name}_reverse": weight for name, weight in model.backward_lstm.state_dict().items()}
    lstm.load_state_dict(model.forward_lstm.state_dict() | backward)
    input_ids = torch.tensor([[7, 8, 9, 10], [11, 12, 0, 0], [13, 0, 0, 0]])
    packed = pack_padded_sequence(model.embedding(input_ids), torch.tensor([4, 2, 1]), batch_first=True)
    _, (final, _) = lstm(packed)
    expected = model.classifier(torch.cat([final[0], final[1]], dim=1).tanh())
    torch.testing.assert_close(model(input_ids, (input_ids != 0).long()).logits, expected)


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


def test_a_checkpoint_of_the_run_loads_here(finished):
    directory = next((finished / "model3").glob("*-*"))
    model = AutoModelForSequenceClassification.from_pretrained(directory)
    assert isinstance(model, BiLSTMForSequenceClassification)
    assert model.config.id2label == {0: "100", 1: "103", 2: "109"}
    assert not list(directory.glob("*.bin")) and not list(directory.glob("*.pt"))
    tokens = AutoTokenizer.from_pretrained(directory).tokenize("為什麼 NBA 2018年 iphone Qwertz")
    assert "[UNK]" not in tokens
