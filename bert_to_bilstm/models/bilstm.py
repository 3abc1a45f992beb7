"""The student: Embedding → one bidirectional LSTM layer → the largest value of each unit → Linear.

The sizes are the article's: 512-wide embeddings, 512 units a direction, 15 classes. The article keeps tanh of the final
hidden states, as Tang et al. 2019 do (arXiv 1903.12136); what a unit was at most over the tokens (Conneau et al. 2017,
arXiv 1705.02364) needs less data. The packages that it needs are torch and transformers:
every checkpoint carries a copy of this file.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn.functional import cross_entropy, dropout, linear, pad
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.modeling_outputs import SequenceClassifierOutput

LARGEST = 1_000_000  # tokens; a tokenizer without a limit has a larger one


class BiLSTMConfig(PretrainedConfig):
    """`vocab_size` counts every token, those added later too: `len(tokenizer)`.

    `pooling`: what is kept of the hidden states, "max" of each unit over the tokens, or "final", tanh of the last ones,
    which is meant by checkpoints that do not say. `label_descriptions`: original label → what it means.
    `calibration_temperature`: what the logits are divided by when the model predicts, so that its probability says how
    often it is right (Guo et al. 2017, arXiv 1706.04599).
    """

    model_type = "bilstm"

    def __init__(
        self,
        vocab_size: int = 8000,
        embedding_size: int = 512,
        hidden_size: int = 512,
        pooling: str = "final",
        dropout: float = 0.0,
        pad_token_id: int = 0,
        unk_token_id: int = 1,
        max_position_embeddings: int | None = None,
        label_descriptions: dict[str, str] | None = None,
        calibration_temperature: float = 1.0,
        **kwargs: object,
    ) -> None:
        self.vocab_size = vocab_size
        self.embedding_size = embedding_size
        self.hidden_size = hidden_size  # units of one direction
        self.pooling = pooling
        self.dropout = dropout  # of the embeddings and of what is kept of the hidden states
        self.pad_token_id = pad_token_id
        self.unk_token_id = unk_token_id
        self.max_position_embeddings = max_position_embeddings  # tokens that are read of a text; None: all
        self.label_descriptions = label_descriptions or {}
        self.calibration_temperature = calibration_temperature
        super().__init__(**kwargs)  # type: ignore[arg-type]  # whatever else a configuration has


Direction = Callable[[Tensor], Tensor]


class SideBySide(Function):
    """Two directions at a time, each in a thread with half of the cores, forward and backward, to the same result.

    Threads that share out a direction wait for each other at every token; these wait once a batch. On two cores a step
    takes three quarters of the time.
    """

    @staticmethod
    def forward(
        ctx: Any, first: Direction, second: Direction, embedded: Tensor, *weights: Tensor
    ) -> tuple[Tensor, ...]:
        """What each makes of `embedded`; `weights`: all that the first learns, then all that the second learns."""
        autocast = torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")

        def read(direction: Direction, embedded: Tensor) -> Tensor:
            with torch.enable_grad(), torch.autocast("cpu", enabled=autocast[0], dtype=autocast[1]):
                return direction(embedded)

        ctx.embedded = [embedded.detach().requires_grad_() for _ in range(2)]
        ctx.weights = weights[: len(weights) // 2], weights[len(weights) // 2 :]
        ctx.threads = two_threads(torch.get_num_threads() // 2)
        ctx.states = list(ctx.threads.map(read, (first, second), ctx.embedded))
        return tuple(states.detach() for states in ctx.states)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        def differentiate(states: Tensor, embedded: Tensor, weights: Sequence[Tensor], gradient: Tensor) -> Any:
            return torch.autograd.grad(states, [embedded, *weights], gradient)

        found = ctx.threads.map(differentiate, ctx.states, ctx.embedded, ctx.weights, gradients)
        (first, *of_first), (second, *of_second) = found
        return None, None, first + second, *of_first, *of_second


@cache
def two_threads(cores: int) -> ThreadPoolExecutor:
    """Two threads with so many cores each."""
    return ThreadPoolExecutor(2, initializer=torch.set_num_threads, initargs=(cores,))


class BiLSTMForSequenceClassification(PreTrainedModel):
    """The two directions are two LSTMs over padded rows, the backward one over reversed rows.

    That gives what `nn.LSTM(bidirectional=True)` gives over packed sequences, faster: padding needs no lengths on the
    CPU, and on CPUs only the padded form is computed by oneDNN, in bf16 where there are units for it.
    """

    config_class = BiLSTMConfig
    accepts_loss_kwargs = False  # the loss is the mean of its batch: Trainer divides by the batches that it accumulates

    def __init__(self, config: BiLSTMConfig) -> None:
        super().__init__(config)
        assert config.num_labels is not None  # as its type allows
        self.embedding = nn.Embedding(config.vocab_size, config.embedding_size, padding_idx=config.pad_token_id)
        self.forward_lstm = nn.LSTM(config.embedding_size, config.hidden_size, batch_first=True)
        self.backward_lstm = nn.LSTM(config.embedding_size, config.hidden_size, batch_first=True)
        self.classifier = nn.Linear(2 * config.hidden_size, config.num_labels)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        # torch's own start (embeddings of standard deviation 1) in place of transformers' 0.02.
        if isinstance(module, nn.Embedding | nn.LSTM | nn.Linear):
            module.reset_parameters()

    def get_input_embeddings(self) -> nn.Embedding:
        return self.embedding

    def set_input_embeddings(self, value: nn.Module) -> None:
        assert isinstance(value, nn.Embedding)
        self.embedding = value

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        return_dict: bool | None = None,
        **_: object,
    ) -> SequenceClassifierOutput | tuple[Tensor, ...]:
        """`input_ids`, `attention_mask` (batch, length), `labels` (batch,) → `logits` (batch, classes), and `loss`.

        Padding stands at the end of a row. A row without a token is read as one unknown token. Raises ValueError where
        there are no `input_ids`: embeddings in their place (`inputs_embeds`) are not taken.
        """
        if input_ids is None:
            raise ValueError("the student reads input_ids; it does not take inputs_embeds in their place")
        input_ids = input_ids.long()
        mask = input_ids != self.config.pad_token_id if attention_mask is None else attention_mask.bool()
        input_ids, mask = (rows[:, : self.config.max_position_embeddings] for rows in (input_ids, mask))
        if input_ids.shape[1] == 0 or torch.jit.is_tracing():  # a traced graph has no branches
            width = torch.as_tensor(input_ids.shape[1]).clamp(min=1)
            input_ids = pad(input_ids, (0, 1), value=self.config.pad_token_id)[:, :width]
            mask = pad(mask, (0, 1))[:, :width]
        lengths = mask.sum(1, keepdim=True)  # (batch, 1)
        first = torch.where(lengths == 0, self.config.unk_token_id, input_ids[:, :1])
        input_ids = torch.cat([first, input_ids[:, 1:]], dim=1)
        last = (lengths - 1).clamp(min=0)
        embedded = self.dropout(self.embedding(input_ids))  # (batch, length, embedding_size)
        batch, length = input_ids.shape
        places = (last - torch.arange(length, device=last.device)).clamp(min=0)  # (batch, length)
        reversed_rows = places + length * torch.arange(batch, device=last.device).unsqueeze(1)
        forwards = partial(self.read, self.forward_lstm, last)
        backwards = partial(self.read, self.backward_lstm, last, order=reversed_rows.flatten())
        states = self.both(forwards, backwards, embedded)  # twice (batch, hidden_size)
        features = self.dropout(torch.cat(states, dim=1))  # (batch, 2 × hidden_size)
        with torch.autocast(features.device.type, enabled=False):  # in bf16 two classes would often be equal
            weight, bias = self.classifier.weight.float(), self.classifier.bias.float()
            logits = linear(features.float(), weight, bias)  # (batch, classes)
        if not self.training:
            logits = logits / self.config.calibration_temperature
        loss = None if labels is None else cross_entropy(logits, labels)
        output = SequenceClassifierOutput(loss=loss, logits=logits)
        return output.to_tuple() if return_dict is False else output

    def both(self, forwards: Direction, backwards: Direction, embedded: Tensor) -> tuple[Tensor, ...]:
        """What the two directions give; where a CPU of several cores trains them, each on half of the cores."""
        weights = [*self.forward_lstm.parameters(), *self.backward_lstm.parameters()]
        learns = self.training and torch.is_grad_enabled() and all(weight.requires_grad for weight in weights)
        if learns and embedded.device.type == "cpu" and torch.get_num_threads() > 1:
            return SideBySide.apply(forwards, backwards, embedded, *weights)
        return forwards(embedded), backwards(embedded)

    def read(self, lstm: nn.LSTM, last: Tensor, embedded: Tensor, order: Tensor | None = None) -> Tensor:
        """The hidden states of each row of `embedded` up to token `last` (batch, 1), pooled: (batch, hidden_size).

        `order`: of all tokens of the batch, one row after the other, in which they are read.
        """
        if order is not None:
            embedded = embedded.flatten(0, 1).index_select(0, order).view_as(embedded)
        # On NVIDIA's GPUs autocast computes an LSTM in fp16 whatever type it is given; in fp32 it takes TF32.
        with torch.autocast("cuda", enabled=False):
            states, _ = lstm(embedded)  # (batch, length, hidden_size)
        if self.config.pooling == "final":
            return states.gather(1, last.unsqueeze(2).expand(-1, -1, states.shape[2])).squeeze(1).tanh()
        padding = torch.arange(states.shape[1], device=last.device) > last  # (batch, length)
        return states.masked_fill(padding.unsqueeze(2), -1).amax(1)  # no state is smaller

    def dropout(self, values: Tensor) -> Tensor:
        return drop_out(values, self.config.dropout) if self.training else values


def drop_out(values: Tensor, chance: float) -> Tensor:
    """Dropout: what `torch.nn.functional.dropout` does where it trains, in less than half of its time on a CPU.

    A 64-bit random number serves four values; the chance is met to within 1 in 65,536.
    """
    if not chance:
        return values
    if values.device.type != "cpu" or chance > 0.99:  # of which 1 in 65,536 would be a share
        return dropout(values, chance)
    bits = torch.empty(-(-values.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
    kept = bits.view(torch.int16)[: values.numel()].view_as(values) >= round(65_536 * chance) - 32_768
    return values * kept.to(values.dtype) * (1 / (1 - chance))


def new_student(
    tokenizer: PreTrainedTokenizerBase,
    labels: dict[int, str],
    descriptions: dict[str, str] | None = None,
    dropout: float = 0.0,
    pooling: str = "max",
    hidden_size: int = 512,
) -> BiLSTMForSequenceClassification:
    """A student with random weights for the tokens of `tokenizer` and the classes 0… → original label.

    `descriptions` (original label → description) go with it in its configuration.
    """
    config = BiLSTMConfig(
        len(tokenizer),
        hidden_size=hidden_size,
        pooling=pooling,
        dropout=dropout,
        id2label=labels,
        label2id={label: number for number, label in labels.items()},
        label_descriptions=descriptions,
        max_position_embeddings=tokenizer.model_max_length if tokenizer.model_max_length < LARGEST else None,
    )
    return BiLSTMForSequenceClassification(config)


BiLSTMConfig.register_for_auto_class()
BiLSTMForSequenceClassification.register_for_auto_class("AutoModelForSequenceClassification")
AutoConfig.register("bilstm", BiLSTMConfig, exist_ok=True)
AutoModelForSequenceClassification.register(BiLSTMConfig, BiLSTMForSequenceClassification, exist_ok=True)
