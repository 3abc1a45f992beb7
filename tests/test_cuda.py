"""On an NVIDIA GPU: the stages run there, and what they make answers alike on the CPU. Skipped where there is none."""

from pathlib import Path

import pandas
import pytest
import torch
from datasets import load_from_disk

from bert_to_bilstm.models.checkpoints import best_checkpoint, load_classifier
from bert_to_bilstm.training.device import make_accelerator
from bert_to_bilstm.training.prediction import predict_logits

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU here: its paths are not tested")


def test_the_gpu_is_taken(finished):
    assert make_accelerator().device.type == "cuda"


@pytest.mark.parametrize("stage", ["model1", "model2", "model3"])
def test_every_training_ends_on_it_and_answers_alike_on_the_cpu(finished, stage):
    history = pandas.read_csv(Path(stage) / "history.csv")
    assert history["train_loss"].notna().all() and len(history) > 0
    model, tokenizer = load_classifier(best_checkpoint(Path(stage), ""))
    sentences = load_from_disk("data")["valid"]["sentence"][:]
    on_the_gpu = predict_logits(model, tokenizer, sentences)
    model = model.cpu()
    with torch.inference_mode():
        on_the_cpu = model(**tokenizer(sentences, padding=True, truncation=True, return_tensors="pt")).logits
    torch.testing.assert_close(on_the_gpu, on_the_cpu, atol=0.1, rtol=0.05)  # bf16 beside fp32


def test_an_lstm_is_not_computed_in_fp16(finished):
    """What autocast for bf16 would do there; without a scaled loss small gradients were lost."""
    model, tokenizer = load_classifier(best_checkpoint(Path("model2"), ""))
    types = set()
    for lstm in (model.forward_lstm, model.backward_lstm):
        lstm.register_forward_hook(lambda _lstm, _given, states: types.add(states[0].dtype))
    predict_logits(model, tokenizer, ["手机"])
    assert torch.float16 not in types and types


def test_a_student_leaves_out_as_many_values_as_on_the_cpu(finished):
    model, _ = load_classifier(best_checkpoint(Path("model2"), ""))
    model.config.dropout = 0.25
    kept = model.cuda().train().dropout(torch.ones(100_000, device="cuda")) > 0
    assert kept.float().mean().item() == pytest.approx(0.75, abs=0.01)
