"""What the student starts from: random embeddings, or the teacher's."""

from typing import cast

import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bert_to_bilstm.models.bilstm import BiLSTMForSequenceClassification

SHARE = 0.1  # of the student's tokens that the teacher has to know too; of fewer there is little to take over


def shared_tokens(tokenizer: PreTrainedTokenizerBase, teacher_tokenizer: PreTrainedTokenizerBase) -> dict[int, int]:
    """The student's number of each token that the teacher knows too → the teacher's number.

    A token is compared as it is and, where that finds nothing, as the text that it stands for: `▁今` in SentencePiece
    and `ä»Ĭ` in byte-level BPE are 今. Empty where the teacher knows less than SHARE of the student's tokens.
    """
    theirs = teacher_tokenizer.get_vocab()
    spelled = {teacher_tokenizer.convert_tokens_to_string([token]).strip(): number for token, number in theirs.items()}
    ours = tokenizer.get_vocab()
    known = {number: theirs.get(token, spelled.get(token)) for token, number in ours.items()}
    shared = {number: other for number, other in known.items() if other is not None}
    return shared if len(shared) >= SHARE * len(ours) else {}


def start_from_teacher(
    student: BiLSTMForSequenceClassification, teacher: PreTrainedModel, shared: dict[int, int]
) -> None:
    """Gives the student the teacher's embeddings of the tokens that both know, as `shared_tokens` has them.

    A wider teacher's are reduced to their principal components; a narrower one's fill the first columns, and the others
    stay random. They are scaled to the standard deviation of the student's own start.
    """
    start = student.embedding.weight.data  # (tokens, 512)
    theirs = cast(nn.Embedding, teacher.get_input_embeddings()).weight.detach()
    ours, known = torch.tensor(sorted(shared.items())).unbind(1)
    vectors = theirs[known] - theirs[known].mean(0)
    if vectors.shape[1] > start.shape[1]:
        _, _, components = torch.linalg.svd(vectors, full_matrices=False)
        vectors = vectors @ components[: start.shape[1]].T
    start[ours, : vectors.shape[1]] = vectors * (start.std() / vectors.std())
    start[student.config.pad_token_id] = 0
