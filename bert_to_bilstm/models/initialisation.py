"""What the student starts from."""

from typing import cast

import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bert_to_bilstm.models.bilstm import BiLSTMForSequenceClassification


def start_from_teacher(
    student: BiLSTMForSequenceClassification,
    tokenizer: PreTrainedTokenizerBase,
    teacher: PreTrainedModel,
    teacher_tokenizer: PreTrainedTokenizerBase,
) -> int:
    """Gives the student the teacher's embeddings of the tokens that both know; returns how many those are.

    A wider teacher's are reduced to their principal components; a narrower one's fill the first columns, and the others
    stay random. They are scaled to the standard deviation of the student's own start.
    """
    start = student.embedding.weight.data  # (tokens, 512)
    theirs = cast(nn.Embedding, teacher.get_input_embeddings()).weight.detach()
    vocabulary = teacher_tokenizer.get_vocab()
    spelled = {token.removeprefix("▁"): number for token, number in vocabulary.items()} | vocabulary
    pairs = [(number, spelled[token]) for token, number in tokenizer.get_vocab().items() if token in spelled]
    ours, known = torch.tensor(sorted(pairs)).unbind(1)
    vectors = theirs[known] - theirs[known].mean(0)
    if vectors.shape[1] > start.shape[1]:
        _, _, components = torch.linalg.svd(vectors, full_matrices=False)
        vectors = vectors @ components[: start.shape[1]].T
    start[ours, : vectors.shape[1]] = vectors * (start.std() / vectors.std())
    start[tokenizer.pad_token_id] = 0
    return len(pairs)
