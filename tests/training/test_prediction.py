"""Logits of many sentences: a thread a core shares out the batches."""

from pathlib import Path

import pytest
import torch
from datasets import load_from_disk

from bert_to_bilstm.models.checkpoints import best_checkpoint, load_classifier
from bert_to_bilstm.training import prediction
from bert_to_bilstm.training.prediction import predict_logits


@pytest.fixture
def threads():
    """Sets how many cores torch uses, for one test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def test_however_many_threads_the_logits_are_the_same_and_in_order(finished, threads):
    model, tokenizer = load_classifier(best_checkpoint(Path("model3"), ""))
    sentences = load_from_disk("data")["train"]["sentence"][:]
    one, *several = [threads(number) or predict_logits(model, tokenizer, sentences, 8) for number in (1, 2, 3)]
    assert all(logits.equal(one) for logits in several)
    assert torch.get_num_threads() == 3  # as it was before


def test_too_little_memory_is_told_with_what_helps(finished):
    model, tokenizer = load_classifier(best_checkpoint(Path("model3"), ""))

    def fill_the_memory(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    model.register_forward_pre_hook(fill_the_memory)
    with pytest.raises(SystemExit, match=r"the GPU is out of memory \(CUDA out of memory.*\): .* lower BATCH_SIZE"):
        predict_logits(model, tokenizer, ["手机"] * 100, 64)


def test_where_one_batch_fails_the_others_are_left_and_the_reason_is_told(threads):
    threads(2)
    done = []

    def fail_at_the_third(batch):
        done.append(batch)
        if len(done) >= 3:
            raise MemoryError("the third batch")

    with pytest.raises(MemoryError, match="the third batch"):
        prediction.for_each(fail_at_the_third, torch.utils.data.DataLoader(range(1000)), 2)
    assert len(done) < 10
    assert torch.get_num_threads() == 2
