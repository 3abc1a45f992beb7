"""Checkpoint directories: how they are found, loaded and checked."""

import re
from pathlib import Path

from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

import bert_to_bilstm.models.bilstm  # noqa: F401  registers the student with AutoModelForSequenceClassification
from bert_to_bilstm.files import first_line, refuse_lfs_pointer

PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")  # suffixes of weights that torch pickled


def refuse_pickles(directory: Path) -> None:
    """Raises SystemExit where a directory holds pickled weights: loading such a file can run any code."""
    for path in sorted(directory.iterdir()) if directory.is_dir() else []:
        if path.suffix in PICKLES:
            raise SystemExit(f"{path} is a pickle, which may run code: remove it; model.safetensors alone is read.")


def refuse_lfs_pointers(directory: Path) -> None:
    """Raises SystemExit where a file of a model was not pulled by git-lfs."""
    for path in sorted(directory.glob("*")):
        refuse_lfs_pointer(path)


def load_tokenizer(directory: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a checkpoint directory, or the student's own."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
        if tokenizer.pad_token_id is None or tokenizer.unk_token_id is None:
            raise ValueError("no token for padding, or none for what is unknown")
        return tokenizer
    except Exception as error:  # tokenizers raises Exception itself
        raise SystemExit(
            f"{directory} holds no readable tokenizer ({first_line(error)}): run the stage that wrote it again."
        ) from None


def load_classifier(
    directory: Path, labels: dict[int, str] | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model of a checkpoint directory, teacher or student, ready to predict, and its tokenizer.

    Raises SystemExit where there is none, or one that was trained on other classes than `labels` (None: on any).
    """
    refuse_pickles(directory)
    refuse_lfs_pointers(directory)
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
    return model.eval(), tokenizer


def check_model(name: Path | str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raises SystemExit where a model's weights are not numbers, or the tokenizer beside it is not its own.

    The tokenizer learns from it how many tokens the model can read, as `model_max_length`.
    """
    if broken := [weight for weight, values in model.named_parameters() if not values.isfinite().all()]:
        raise SystemExit(f"{name} has weights that are not numbers ({broken[0]}): copy it or train it again.")
    if not len(tokenizer.all_special_tokens) < len(tokenizer) <= model.config.vocab_size:
        raise SystemExit(
            f"{name} has a tokenizer of {len(tokenizer):,} tokens and a model of {model.config.vocab_size:,}: "
            "copy both from one place, or train it again."
        )
    positions = getattr(model.config, "max_position_embeddings", tokenizer.model_max_length)
    tokenizer.model_max_length = min(positions, tokenizer.model_max_length)


def checkpoints(directory: Path) -> list[tuple[int, float, Path]]:
    """Epoch, accuracy and path of every `{epoch}-{accuracy}` checkpoint in a directory, by epoch."""
    names = [(re.fullmatch(r"(\d+)-([01]\.\d{4})", path.name), path) for path in directory.glob("*-*")]
    return sorted((int(name[1]), float(name[2]), path) for name, path in names if name)


def best_checkpoint(directory: Path, stage: str) -> Path:
    """The checkpoint of the highest accuracy, the earliest on a tie.

    Raises SystemExit, naming the script `stage` that makes them, where there is none.
    """
    found = checkpoints(directory)
    if not found:
        raise SystemExit(f"{directory}/ holds no checkpoint: run python {stage} first.")
    return max(found, key=lambda checkpoint: checkpoint[1])[2]
