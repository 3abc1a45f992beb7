"""The pretrained model that becomes the teacher: of any family that transformers can classify with."""

from pathlib import Path

import torch
from tokenizers import normalizers
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from bert_to_bilstm.files import first_line
from bert_to_bilstm.models.checkpoints import check_model, check_weights, head_in_fp32
from bert_to_bilstm.stages import say


def local_folder(name: str | Path) -> Path | None:
    """The folder that a name means, None where it is to be looked for on the hub.

    Raises SystemExit where it is written like a path and there is no such folder.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if str(name).startswith((".", "/", "~")) or "\\" in str(name) or str(name).count("/") > 1 or path.exists():
        raise SystemExit(f"MODEL_NAME = {str(name)!r} is no folder: give the path of one with a model in it.")
    return None


def load_pretrained(
    name: str | Path,
    labels: dict[int, str],
    descriptions: dict[str, str],
    normalizer: normalizers.Normalizer,
    max_length: int,
    bf16: bool,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The pretrained model with a fresh classification head, in fp32, and its tokenizer.

    The tokenizer normalises by `normalizer` before it does so in its own way, and cuts at `max_length` tokens, or at
    what the model can read. Raises SystemExit where the model cannot be had, or cannot be run, in bf16 if that is asked
    for.
    """
    folder = local_folder(name)
    if folder:
        check_weights(folder)
    source = str(folder or name)
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
        model, loading = AutoModelForSequenceClassification.from_pretrained(
            source,
            num_labels=len(labels),
            id2label=labels,
            label2id={label: number for number, label in labels.items()},
            use_safetensors=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,  # a head of other classes, which is thrown away below
            dtype=torch.float32,  # a checkpoint in half precision would be trained in half precision
            # On CPUs the backward pass of scaled_dot_product_attention is slow: BERT-base trains 1.4 times as fast so.
            # Elsewhere transformers chooses what the model has.
            attn_implementation=None if torch.cuda.is_available() else "eager",
            output_loading_info=True,
        )
    except Exception as error:  # as many kinds as there are kinds of damage
        remedy = "copy the model's folder again" if folder else "go online, or copy the model's folder here"
        raise SystemExit(
            f"{name} could not be loaded ({first_line(error)}): {remedy} (config.json, model.safetensors, tokenizer "
            "files) and set MODEL_NAME in finetune_bert.py to its path."
        ) from None
    missing = set(loading["missing_keys"])
    wrong = [key for key, *_ in loading["mismatched_keys"] if key.startswith(f"{model.base_model_prefix}.")]
    if wrong or 2 * len(missing) > len(model.state_dict()):
        raise SystemExit(f"{name} has weights of another model than its config.json says: copy it again.")
    fresh = renew_head(model)
    prepare_tokenizer(name, tokenizer, model, normalizer)
    check_model(name, model, tokenizer)
    tokenizer.model_max_length = min(max_length, tokenizer.model_max_length)
    model.config.label_descriptions = descriptions
    head_in_fp32(model)
    try_out(name, model, tokenizer, bf16)
    say(f"{name}: starting at random: {', '.join(sorted(missing | fresh))}; the rest is pretrained.")
    return model, tokenizer


def renew_head(model: PreTrainedModel) -> set[str]:
    """Gives the classification head new random weights, whatever the checkpoint had; returns their names."""
    fresh = type(model)(model.config).state_dict()
    names = {name for name in fresh if not name.startswith(f"{model.base_model_prefix}.")}
    model.load_state_dict({name: fresh[name] for name in names}, strict=False)
    return names


def prepare_tokenizer(
    name: str | Path, tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, normalizer: normalizers.Normalizer
) -> None:
    """Puts the normaliser into the tokenizer, and sees to it that it and the model agree on a token for padding."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise SystemExit(f"{name} has a tokenizer without tokenizer.json: choose a model that has one.")
    own = [backend.normalizer] if backend.normalizer else []
    backend.normalizer = normalizers.Sequence([normalizer, *own])
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    if tokenizer.pad_token_id is None:
        raise SystemExit(f"{name} has no token for padding: choose another model, or add one to its tokenizer.")
    tokenizer.padding_side = "right"
    model.config.pad_token_id = tokenizer.pad_token_id  # by which a decoder finds its last real token


def try_out(name: str | Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, bf16: bool) -> None:
    """Reads a short text beside one that is too long. Raises SystemExit where the model cannot.

    A model that reads the padding too, and so says something else of a text in every batch, cannot either: FNet, which
    knows no attention mask, or XLNet, which answers at the last place.
    """

    def logits(*texts: str) -> torch.Tensor:
        batch = tokenizer(list(texts), truncation=True, padding=True, return_tensors="pt")
        return model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits.float()

    kind, remedy = model.config.model_type, "choose another model in MODEL_NAME"
    try:
        with torch.inference_mode():
            model.eval()
            alone, beside = logits("一"), logits("一", "一二三" * 2000)
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                logits("一")
    except Exception as error:
        raise SystemExit(f"{name} ({kind}) cannot be run here ({first_line(error)}): {remedy}.") from None
    if (alone[0] - beside[0]).abs().max() > 1e-4:
        raise SystemExit(f"{name} ({kind}) says something else of a text that is padded: {remedy}.")
