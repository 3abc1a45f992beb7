"""The pretrained model that becomes the teacher."""

from pathlib import Path

import torch
from tokenizers.normalizers import Normalizer, Sequence
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from bert_to_bilstm.files import first_line
from bert_to_bilstm.models.checkpoints import check_model, refuse_lfs_pointers
from bert_to_bilstm.stages import say


def load_pretrained(
    name: str, labels: dict[int, str], descriptions: dict[str, str], normalizer: Normalizer, max_length: int
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The pretrained model with a fresh classification layer, in fp32, and its tokenizer."""
    refuse_lfs_pointers(Path(name))
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
        model, loading = AutoModelForSequenceClassification.from_pretrained(
            name,
            num_labels=len(labels),
            id2label=labels,
            label2id={label: number for number, label in labels.items()},
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.float32,
            attn_implementation="sdpa" if torch.cuda.is_available() else "eager",
            output_loading_info=True,
        )
    except Exception as error:
        raise SystemExit(
            f"{name} could not be loaded ({first_line(error)}): go online, or copy the model's folder "
            "(config.json, vocab.txt, model.safetensors, tokenizer files) here and set MODEL_NAME in finetune_bert.py "
            "to its path."
        ) from None
    check_model(name, model, tokenizer)
    tokenizer.model_max_length = min(max_length, tokenizer.model_max_length)
    tokenizer.backend_tokenizer.normalizer = Sequence([normalizer, tokenizer.backend_tokenizer.normalizer])
    model.config.label_descriptions = descriptions
    say(f"{name}: starting at random: {', '.join(sorted(loading['missing_keys']))}; the rest is pretrained.")
    return model, tokenizer
