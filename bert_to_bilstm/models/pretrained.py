"""The pretrained model that becomes the teacher: of any family that transformers can classify with."""

from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from huggingface_hub import snapshot_download
from tokenizers import normalizers
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from bert_to_bilstm.files import expand, first_line
from bert_to_bilstm.models.checkpoints import (
    MODEL_FILES,
    WEIGHTS,
    check_model,
    check_weights,
    save_tokenizer,
)
from bert_to_bilstm.models.forwards import set_forwards
from bert_to_bilstm.stages import say


def find_pretrained(name: str | Path) -> Path:
    """The folder of the pretrained model: the one that `name` says, or the hub's, downloaded where it is not yet here.

    Raises SystemExit where there is none. What is written like a path is not looked for on the hub.
    """
    path = expand(name)
    if path.is_dir():
        check_weights(path)
        return path
    is_path = str(name).startswith((".", "/", "~")) or "\\" in str(name) or str(name).count("/") > 1
    if is_path or path.exists() or (len(path.parts) > 1 and path.parent.is_dir()):
        raise SystemExit(f"MODEL_NAME = {str(name)!r} is no folder: give the path of one with a model in it.")
    try:
        return Path(snapshot_download(str(name), allow_patterns=list(MODEL_FILES), ignore_patterns=["*/*"]))
    except Exception as error:  # of the network, of the hub, of the disk
        raise SystemExit(
            f"{name} could not be loaded from the hub ({first_line(error)}): go online, or copy "
            "the model's folder (config.json, model.safetensors, tokenizer files) here and set MODEL_NAME in "
            "finetune_bert.py to its path."
        ) from None


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
    folder = find_pretrained(name)
    # Of a model that the hub has as pickles alone transformers finds the hub's own conversion, but only by its name.
    converted = not any((folder / weights).is_file() for weights in WEIGHTS)
    source = str(name if converted else folder)
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
        remedy = "make sure that its folder has model.safetensors" if converted else "copy the model's folder again"
        raise SystemExit(
            f"{name} could not be loaded ({first_line(error)}): {remedy} (config.json, model.safetensors, tokenizer "
            "files) and set MODEL_NAME in finetune_bert.py to its path."
        ) from None
    missing, mismatched = set(loading["missing_keys"]), {key for key, *_ in loading["mismatched_keys"]}
    fresh = renew_head(model)
    if 2 * len(missing) > len(model.state_dict()) or mismatched - fresh:
        raise SystemExit(f"{name} has weights of another model than its config.json says: copy it again.")
    prepare_tokenizer(name, tokenizer, model, normalizer)
    check_model(name, model, tokenizer)
    tokenizer.model_max_length = min(max_length, tokenizer.model_max_length)
    model.config.label_descriptions = descriptions
    set_forwards(model)
    try_out(name, model, tokenizer, bf16)
    if not is_kept_elsewhere(tokenizer, model):
        say(
            f"{name}: transformers reads the tokenizer of a {model.config.model_type} in its own way, without the "
            "character table: elsewhere than here, load it by PreTrainedTokenizerFast and hand it to pipeline."
        )
    say(f"{name}: starting at random: {', '.join(sorted(missing | fresh))}; the rest is pretrained.")
    return model, tokenizer


def renew_head(model: PreTrainedModel) -> set[str]:
    """Gives the classification head, which is all but the base model, new random weights, whatever the checkpoint had;
    returns their names.
    """
    fresh = type(model)(model.config).state_dict()
    names = {name for name in fresh if not name.startswith(f"{model.base_model_prefix}.")}
    model.load_state_dict({name: fresh[name] for name in names}, strict=False)
    return names


def prepare_tokenizer(
    name: str | Path, tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, normalizer: normalizers.Normalizer
) -> None:
    """Puts the normaliser into the tokenizer, and sees to it that it and the model have a token for padding."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    try:
        assert backend is not None
        backend.to_str()  # RoFormer's cannot be written: it calls Python
    except Exception:  # tokenizers raises Exception itself
        raise SystemExit(
            f"{name} has a tokenizer that tokenizer.json cannot hold: choose another model in MODEL_NAME."
        ) from None
    own = [backend.normalizer] if backend.normalizer else []
    backend.normalizer = normalizers.Sequence([normalizer, *own])
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    if tokenizer.pad_token_id is None:
        raise SystemExit(f"{name} has no token for padding: choose another model, or add one to its tokenizer.")
    tokenizer.padding_side = "right"
    if model.config.pad_token_id is None:  # by which a decoder finds its last real token
        model.config.pad_token_id = tokenizer.pad_token_id


def is_kept_elsewhere(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> bool:
    """Whether AutoTokenizer takes the normaliser from a checkpoint: for a few kinds it makes one of its own."""
    with TemporaryDirectory() as directory:
        save_tokenizer(tokenizer, Path(directory))
        model.config.save_pretrained(directory)
        try:
            elsewhere = AutoTokenizer.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
        except Exception:  # of a class that takes another kind of vocabulary
            return False
    ours, theirs = (one.backend_tokenizer.normalizer.__getstate__() for one in (tokenizer, elsewhere))
    return ours == theirs


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
