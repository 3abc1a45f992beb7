"""The student: Embedding → one bidirectional LSTM layer → tanh of both final hidden states → Linear.

The shape is the article's: 512-wide embeddings, 512 units a direction, 15 classes (Tang et al. 2019, arXiv 1903.12136,
use the same kind of network). This file imports torch and transformers only: every checkpoint carries a copy of it.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.modeling_outputs import SequenceClassifierOutput


class BiLSTMConfig(PreTrainedConfig):
    """`vocab_size` counts every token, those added later too: `len(tokenizer)`.

    `label_descriptions`: original label → what it means.
    """

    model_type = "bilstm"

    def __init__(
        self,
        vocab_size: int = 8000,
        embedding_size: int = 512,
        hidden_size: int = 512,
        dropout: float = 0.0,
        pad_token_id: int = 0,
        unk_token_id: int = 1,
        label_descriptions: dict[str, str] | None = None,
        **kwargs: object,
    ) -> None:
        self.vocab_size = vocab_size
        self.embedding_size = embedding_size
        self.hidden_size = hidden_size  # units of one direction
        self.dropout = dropout  # of the embeddings and of the final states
        self.pad_token_id = pad_token_id
        self.unk_token_id = unk_token_id
        self.label_descriptions = label_descriptions or {}
        super().__init__(**kwargs)  # type: ignore[arg-type]  # whatever else a configuration has


class BiLSTMForSequenceClassification(PreTrainedModel):
    """The two directions are two LSTMs over padded rows, the backward one over the rows turned round.

    That gives what `nn.LSTM(bidirectional=True)` gives over packed sequences, faster: padding needs no lengths on the
    CPU, and on CPUs only the padded form is computed by oneDNN, in bf16 where there are units for it.
    """

    config_class = BiLSTMConfig

    def __init__(self, config: BiLSTMConfig) -> None:
        super().__init__(config)
        assert config.num_labels is not None  # as its type allows
        self.embedding = nn.Embedding(config.vocab_size, config.embedding_size, padding_idx=config.pad_token_id)
        self.forward_lstm = nn.LSTM(config.embedding_size, config.hidden_size, batch_first=True)
        self.backward_lstm = nn.LSTM(config.embedding_size, config.hidden_size, batch_first=True)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(2 * config.hidden_size, config.num_labels)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        # torch's own start (embeddings of standard deviation 1) in place of transformers' 0.02.
        if isinstance(module, nn.Embedding | nn.LSTM | nn.Linear):
            module.reset_parameters()

    def get_input_embeddings(self) -> nn.Embedding:
        return self.embedding

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, labels: Tensor | None = None, **_: object
    ) -> SequenceClassifierOutput:
        """`input_ids`, `attention_mask` (batch, length), `labels` (batch,) → `logits` (batch, classes), and `loss`.

        Padding stands at the end of a row. A row without a token is read as one unknown token.
        """
        input_ids = input_ids.long()
        mask = input_ids != self.config.pad_token_id if attention_mask is None else attention_mask.bool()
        if input_ids.shape[1] == 0:
            input_ids = input_ids.new_full((len(input_ids), 1), self.config.pad_token_id)
            mask = torch.zeros_like(input_ids, dtype=torch.bool)
        lengths = mask.sum(1, keepdim=True)  # (batch, 1)
        first = torch.where(lengths == 0, self.config.unk_token_id, input_ids[:, :1])
        input_ids = torch.cat([first, input_ids[:, 1:]], dim=1)
        last = (lengths - 1).clamp(min=0)
        turned_round = input_ids.gather(1, (last - torch.arange(input_ids.shape[1], device=last.device)).clamp(min=0))
        final = [
            self.final_state(self.forward_lstm, input_ids, last),
            self.final_state(self.backward_lstm, turned_round, last),
        ]
        logits = self.classifier(self.dropout(torch.tanh(torch.cat(final, dim=1))))  # (batch, classes)
        loss = None if labels is None else cross_entropy(logits, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)

    def final_state(self, lstm: nn.LSTM, input_ids: Tensor, last: Tensor) -> Tensor:
        """The hidden state (batch, hidden_size) after token `last` (batch, 1) of each row."""
        states, _ = lstm(self.dropout(self.embedding(input_ids)))  # (batch, length, hidden_size)
        return states.gather(1, last.unsqueeze(2).expand(-1, -1, states.shape[2])).squeeze(1)


def new_student(
    tokenizer: PreTrainedTokenizerBase,
    labels: dict[int, str],
    descriptions: dict[str, str] | None = None,
    dropout: float = 0.0,
) -> BiLSTMForSequenceClassification:
    """A student with random weights for the tokens of `tokenizer` and the classes 0… → original label.

    `descriptions` (original label → description) go with it in its configuration.
    """
    config = BiLSTMConfig(
        len(tokenizer),
        dropout=dropout,
        id2label=labels,
        label2id={label: number for number, label in labels.items()},
        label_descriptions=descriptions,
    )
    return BiLSTMForSequenceClassification(config)


BiLSTMConfig.register_for_auto_class()
BiLSTMForSequenceClassification.register_for_auto_class("AutoModelForSequenceClassification")
AutoConfig.register("bilstm", BiLSTMConfig, exist_ok=True)
AutoModelForSequenceClassification.register(BiLSTMConfig, BiLSTMForSequenceClassification, exist_ok=True)
