"""How a classifier computes where transformers' own way is slower or less exact; its weights and their names stay."""

from collections.abc import Callable
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, scaled_dot_product_attention
from transformers import PreTrainedModel
from transformers.models.bert.modeling_bert import BertLayer

from bert_to_bilstm.models.bilstm import drop_out

# Model types whose layers are BERT's and whose head reads the first token of what the last layer gives, and no other.
LIKE_BERT = ("bert", "electra", "ernie", "roberta", "xlm-roberta")


def set_forwards(model: PreTrainedModel) -> None:
    """Puts what stands below in the place of the model's own head, last layer and dropout."""
    base: Any = model.base_model
    modules, within = list(model.modules()), set() if base is model else set(base.modules())
    layers = [one for one in modules if isinstance(one, nn.Linear) and one not in within]
    heads = [one for one in layers if one.out_features == model.config.num_labels]
    replaced: list[tuple[nn.Module, Callable]] = [(one, dropout) for one in modules if isinstance(one, nn.Dropout)]
    replaced += [(one, linear_in_fp32) for one in heads[-1:]]
    if model.config.model_type in LIKE_BERT and not getattr(model.config, "is_decoder", False):  # no token reads ahead
        replaced += [(one, layer_for_first_token) for one in base.encoder.layer[-1:]]
    for module, forward in replaced:
        module.forward = MethodType(forward, module)


def linear_in_fp32(layer: nn.Linear, features: Tensor) -> Tensor:
    """What the layer gives for `features` (…, in) → (…, out), in fp32 whatever the precision of the others.

    In bf16 two classes would often be equal. The student does so by itself.
    """
    with torch.autocast(features.device.type, enabled=False):
        return linear(features.float(), layer.weight.float(), None if layer.bias is None else layer.bias.float())


def layer_for_first_token(layer: BertLayer, states: Tensor, mask: Tensor | None, *_: object, **__: object) -> Tensor:
    """What a BERT layer makes of the first token: `states` (batch, length, width) → (batch, 1, width).

    Of the others it needs keys and values alone, so that it does a sixth of the work. `mask` is transformers' own for
    its attention, (batch, 1, length, length): true, or 0, where a token reads another.
    """
    attention, first = layer.attention.self, states[:, :1]
    query, key, value = (
        projection(tokens).unflatten(2, (-1, attention.attention_head_size)).transpose(1, 2)
        for projection, tokens in ((attention.query, first), (attention.key, states), (attention.value, states))
    )
    if mask is not None:
        mask = (mask if mask.dtype == torch.bool else mask == 0)[:, :, :1]
    chance = attention.dropout.p if layer.training else 0.0
    read = scaled_dot_product_attention(query, key, value, mask, chance, scale=attention.scaling)
    return layer.feed_forward_chunk(layer.attention.output(read.transpose(1, 2).flatten(2), first))


def dropout(module: nn.Dropout, values: Tensor) -> Tensor:
    """What the module does, faster."""
    return drop_out(values, module.p) if module.training else values
