"""Checkpoint directories: how they are found, loaded and checked."""

import hashlib
import json
import re
import sys
from pathlib import Path

from transformers import (
    AutoModelForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

import bert_to_bilstm.models.bilstm  # noqa: F401  registers the student with AutoModelForSequenceClassification
from bert_to_bilstm.files import file_fingerprint, first_line, refuse_lfs_pointer
from bert_to_bilstm.models.forwards import set_forwards

WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "model-*-of-*.safetensors")  # whole, or in parts
TOKENIZER = ("tokenizer*.json", "special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt", "*.model")
MODEL_FILES = ("config.json", *WEIGHTS, *TOKENIZER)  # of a model's folder, those that say what it answers
EXPORTED = ("model.onnx", "classify.py", "model.int8.onnx")  # of a student; the last is written last
CHECKPOINT_FILES = (*MODEL_FILES, *EXPORTED, "README.md", "bilstm.py")
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")  # suffixes of weights that torch pickled


def check_weights(directory: Path) -> None:
    """Raises SystemExit where a folder has no weights that can be read: safetensors, which run no code.

    Whatever else lies there is not read, and so does no harm.
    """
    if not any((directory / name).is_file() for name in WEIGHTS):
        if checkpoints(directory):
            raise SystemExit(
                f"{directory} is a training: name a checkpoint in it, such as {best_checkpoint(directory, '')}."
            )
        pickles = sorted(path.name for path in directory.glob("*") if path.suffix in PICKLES)
        if not pickles:
            raise SystemExit(f"{directory}/model.safetensors is missing: copy it there, or name another folder.")
        raise SystemExit(
            f"{directory} has no model.safetensors, and {pickles[0]}, a pickle, is not read, since it may run code: "
            "convert it, where you trust it, with transformers' from_pretrained(…) and save_pretrained(…)."
        )
    for path in model_files(directory):
        refuse_lfs_pointer(path)


def model_files(directory: Path) -> list[Path]:
    """The files of a model's folder that MODEL_FILES names."""
    return sorted({path for pattern in MODEL_FILES for path in directory.glob(pattern) if path.is_file()})


def model_fingerprint(directory: Path) -> str:
    """A digest of a model's configuration, weights and tokenizer. Raises SystemExit where one cannot be read."""
    parts = [f"{path.name} {file_fingerprint(path)}" for path in model_files(directory)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def load_tokenizer(directory: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a checkpoint directory, or the student's own."""
    try:
        # Not AutoTokenizer: the classes of some models make a normaliser of their own in place of ours.
        tokenizer = PreTrainedTokenizerFast.from_pretrained(directory, local_files_only=True)
        if tokenizer.pad_token_id is None:
            raise ValueError("no token for padding")
        return tokenizer
    except Exception as error:  # tokenizers raises Exception itself
        raise SystemExit(
            f"{directory} holds no readable tokenizer ({first_line(error)}): run the stage that wrote it again."
        ) from None


def save_tokenizer(tokenizer: PreTrainedTokenizerBase, directory: Path) -> None:
    """Writes the tokenizer's files so that transformers 4 and 5 load them, wherever they are copied to.

    tokenizer.json, used by itself, cuts texts at `model_max_length` tokens.
    """
    tokenizer.init_kwargs.pop("local_files_only", None)  # how we loaded it is not how others must
    if tokenizer.model_max_length < sys.maxsize:
        tokenizer.backend_tokenizer.enable_truncation(tokenizer.model_max_length)
    tokenizer.save_pretrained(directory)
    path = directory / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    # The class that takes tokenizer.json as it is: others, BERT's among them, make a normaliser of their own again.
    config["tokenizer_class"] = "PreTrainedTokenizerFast"
    config["model_input_names"] = ["input_ids", "attention_mask"]  # what training gives; not every model takes more
    config.pop("is_local", None)
    path.write_text(json.dumps(config, indent=2, ensure_ascii=False), encoding="utf-8")


def load_classifier(
    directory: Path, labels: dict[int, str] | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model of a checkpoint directory, teacher or student, ready to predict, and its tokenizer.

    Raises SystemExit where there is none, or one that was trained on other classes than `labels` (None: on any).
    """
    if not directory.is_dir():
        raise SystemExit(f"{directory} is not there: name a checkpoint directory.")
    check_weights(directory)
    tokenizer = load_tokenizer(directory)
    try:
        model, loading = AutoModelForSequenceClassification.from_pretrained(
            directory,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            dtype="float32",
            output_loading_info=True,
        )
    except Exception as error:  # safetensors and transformers raise their own kinds for a damaged file
        raise SystemExit(
            f"{directory} holds no readable model ({first_line(error)}): run the stage that wrote it again."
        ) from None
    if loading["missing_keys"]:
        raise SystemExit(f"{directory} lacks weights ({', '.join(sorted(loading['missing_keys']))}): train it again.")
    check_model(directory, model, tokenizer)
    if labels is not None and model.config.id2label != labels:
        raise SystemExit(f"{directory} was trained on other classes than those of data/label.csv: train it again.")
    set_forwards(model)
    return model.eval(), tokenizer


def check_model(name: Path | str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raises SystemExit where a model's weights are not numbers, or the tokenizer beside it is not its own.

    The tokenizer learns from it how many tokens the model can read, as `model_max_length`.
    """
    if broken := [weight for weight, values in model.named_parameters() if not values.isfinite().all()]:
        raise SystemExit(f"{name} has weights that are not numbers ({broken[0]}): copy it or train it again.")
    vocab_size = getattr(model.config, "vocab_size", 0)
    if not len(tokenizer.all_special_tokens) < len(tokenizer) <= vocab_size:
        raise SystemExit(
            f"{name} has a tokenizer of {len(tokenizer):,} tokens and a model of {vocab_size:,}: "
            "copy both from one place, or train it again."
        )
    tokenizer.model_max_length = min(readable_tokens(model), tokenizer.model_max_length)


def readable_tokens(model: PreTrainedModel) -> int:
    """How many tokens the model can read at a time, sys.maxsize where nothing says."""
    positions = getattr(model.config, "max_position_embeddings", None) or 0
    for name, module in model.named_modules():
        # RoBERTa and its kind count positions from the number after the padding token's, and so lose the first ones.
        if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
            return positions - module.padding_idx - 1
    return positions if positions > 0 else sys.maxsize  # XLNet's are -1


def is_exported(checkpoint: Path) -> bool:
    """Whether a student's checkpoint directory has all that runs it without PyTorch."""
    return all((checkpoint / name).exists() for name in EXPORTED)


def checkpoints(directory: Path) -> list[tuple[int, float, Path]]:
    """Epoch, accuracy and path of every `{epoch}-{accuracy}` checkpoint in a directory, by epoch."""
    names = [(re.fullmatch(r"(\d+)-([01]\.\d{4})", path.name), path) for path in directory.glob("*-*")]
    return sorted((int(name[1]), float(name[2]), path) for name, path in names if name)


def best_first(directory: Path) -> list[tuple[int, float, Path]]:
    """The checkpoints by accuracy, the highest first, of equal ones the last, which has learnt more."""
    return sorted(checkpoints(directory), key=lambda checkpoint: (checkpoint[1], checkpoint[0]), reverse=True)


def best_checkpoint(directory: Path, stage: str) -> Path:
    """The first of `best_first`.

    Raises SystemExit, naming the script `stage` that makes them, where there is none.
    """
    found = best_first(directory)
    if not found:
        raise SystemExit(f"{directory}/ holds no checkpoint: run python {stage} first.")
    return found[0][2]
