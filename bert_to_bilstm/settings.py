"""The constants at the top of the scripts: what each may be, checked before any work."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Rule:
    """Which values a constant may have, and how that is said. `acts`: whether a run with another value is another."""

    allowed: str
    accepts: Callable[[Any], bool]
    acts: bool = True


def whole(least: int, most: float = math.inf) -> Rule:
    """A whole number from `least` to `most`."""
    allowed = f"a whole number from {least}" + (f" to {most:,}" if most < math.inf else "")
    return Rule(allowed, lambda value: type(value) is int and least <= value <= most)


def number(allowed: str, accepts: Callable[[float], bool]) -> Rule:
    """A number that `accepts` takes."""
    return Rule(allowed, lambda value: type(value) in (int, float) and math.isfinite(value) and accepts(value))


def one_of(*values: object) -> Rule:
    return Rule(" or ".join(map(repr, values)), lambda value: any(value is one or value == one for one in values))


def is_path(value: object) -> bool:
    return isinstance(value, str | Path) and bool(str(value)) and "\0" not in str(value)


def folder(example: str) -> Rule:
    """A folder that a script makes, and replaces: one with a name of its own."""
    return Rule(
        f'a Path to a folder of its own, such as Path("{example}"), without ~',
        lambda value: isinstance(value, Path) and value.name not in ("", "..") and not str(value).startswith("~"),
        acts=False,
    )


PATHS = Rule(
    'a list of paths, such as ["one", "another"]', lambda value: type(value) is list and all(map(is_path, value))
)
PROBABILITY = number("a number from 0 to 1", lambda value: 0 <= value <= 1)
SWITCH = Rule("True or False", lambda value: isinstance(value, bool))
RULES = {
    "AUGMENTATIONS": whole(0),
    "AUGMENTATION_SEED": whole(0, 2**32 - 1),
    "BATCH_SIZE": whole(1),
    "CLASS_WEIGHTS": one_of(None, "balanced"),
    "COST": SWITCH,
    "DROPOUT": number("a number from 0 to 0.99", lambda value: 0 <= value <= 0.99),
    "EMBEDDINGS_FROM_TEACHER": SWITCH,
    "EPOCHS": whole(1),
    "EPOCH_SENTENCES": whole(0),
    "ENGINE": one_of("onnxruntime", "torch"),
    "EXPLAIN": SWITCH,
    "EXPLAINED": whole(0),
    "HARD_LABEL_WEIGHT": PROBABILITY,
    "HIDDEN_SIZE": whole(1, 4096),
    "KEEP_CHECKPOINTS": replace(whole(0), acts=False),
    "KNOWLEDGE": folder("knowledge"),
    "LABEL_COLUMN": Rule("the name of a column", lambda value: isinstance(value, str) and bool(value.strip())),
    "LEARNING_RATE": number("a number above 0, at most 1", lambda value: 0 < value <= 1),
    "LOSS": one_of("kl", "mse"),
    "MAX_GRAD_NORM": number("a number above 0, or 0 for none", lambda value: value >= 0),
    "MAX_LENGTH": whole(4),
    "MINIMUM_CONFIDENCE": PROBABILITY,
    "MINIMUM_COUNT": whole(0),
    "MODEL": Rule('a checkpoint directory, or "" for the best of model3/', lambda value: value == "" or is_path(value)),
    "MODEL_NAME": Rule("the name of a model, or the path of its folder", is_path),
    "NGRAM_TEACHER": SWITCH,
    "NGRAM_WEIGHT": PROBABILITY,
    "OUTPUT": folder("model1"),
    "POOLING": one_of("max", "final"),
    "P_MASK": PROBABILITY,
    "P_NGRAM": PROBABILITY,
    "P_POS": PROBABILITY,
    "ROWS": whole(1),
    "SCHEDULE": one_of("linear", "cosine", "constant", "constant_with_warmup"),
    "SEED": whole(0, 2**32 - 1),
    "SENTENCE_COLUMN": Rule('the name of a column, or "" for sentence or text', lambda value: isinstance(value, str)),
    "SOURCE": Rule('a Path, such as Path("tnews")', lambda value: isinstance(value, Path), acts=False),
    "TEACHERS": PATHS,
    "TEMPERATURE": number("a number above 0", lambda value: value > 0),
    "UNLABELLED": PATHS,
    "WARMUP_RATIO": PROBABILITY,
    "WEIGHT_DECAY": number("a number from 0 to below 1", lambda value: 0 <= value < 1),
}


def settings_of(script: dict[str, Any]) -> dict[str, Any]:
    """The constants of a script, given its `globals()`, that make a run what it is, as JSON can hold them.

    Raises SystemExit, naming constant, value and what is allowed, where one is wrong.
    """
    constants = {name: value for name, value in script.items() if name in RULES}
    file = Path(script["__file__"]).name
    for name, value in constants.items():
        if not RULES[name].accepts(value):
            raise SystemExit(f"{name} = {value!r} in {file}: give {RULES[name].allowed}.")
    if constants.get("P_MASK", 0) + constants.get("P_POS", 0) > 1:
        raise SystemExit(
            f"P_MASK = {constants['P_MASK']} and P_POS = {constants['P_POS']} in {file}: give two numbers of which "
            "the sum is at most 1."
        )
    if "KNOWLEDGE" in constants and constants["KNOWLEDGE"].resolve() == constants["OUTPUT"].resolve():
        raise SystemExit(f"KNOWLEDGE and OUTPUT in {file} are both {constants['OUTPUT']}: give each its own folder.")
    return {name: plain(value) for name, value in constants.items() if RULES[name].acts}


def plain(value: object) -> object:
    """`value` with texts in place of paths."""
    if isinstance(value, list):
        return [plain(one) for one in value]
    return str(value) if isinstance(value, Path) else value
