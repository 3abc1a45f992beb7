"""The constants at the top of the scripts: a wrong one is told in a sentence before any work."""

import ast
import importlib
from pathlib import Path

import pytest
from conftest import run_script

from bert_to_bilstm.settings import RULES, settings_of

SCRIPTS = ("prepare_data", "finetune_bert", "train_bilstm", "distill", "predict_test", "report")

OTHERS = {
    "ANSWERS",
    "LONGEST_LINE",
    "MODELS",
    "OUTPUTS",
    "READ",
    "SUBMISSION",
    "WRITTEN",
}  # which nobody need set
WRONG = [
    ("finetune_bert", "EPOCHS", 0),
    ("finetune_bert", "EPOCHS", "2"),
    ("finetune_bert", "LEARNING_RATE", "1e-3"),
    ("finetune_bert", "LEARNING_RATE", float("nan")),
    ("finetune_bert", "MAX_LENGTH", -5),
    ("finetune_bert", "MAX_LENGTH", 1),
    ("finetune_bert", "MODEL_NAME", ""),
    ("train_bilstm", "LEARNING_RATE", 0),
    ("train_bilstm", "LEARNING_RATE", 100),
    ("train_bilstm", "BATCH_SIZE", -4),
    ("train_bilstm", "BATCH_SIZE", 32.0),
    ("train_bilstm", "SEED", -1),
    ("train_bilstm", "SEED", "42"),
    ("train_bilstm", "DROPOUT", 1.0),
    ("train_bilstm", "HIDDEN_SIZE", 0),
    ("distill", "HIDDEN_SIZE", 200_000),
    ("train_bilstm", "SCHEDULE", "bogus"),
    ("train_bilstm", "WARMUP_RATIO", 300),
    ("distill", "LOSS", "mae"),
    ("distill", "TEMPERATURE", 0),
    ("distill", "TEMPERATURE", -2),
    ("distill", "HARD_LABEL_WEIGHT", 1.5),
    ("distill", "AUGMENTATIONS", -1),
    ("distill", "AUGMENTATIONS", "3"),
    ("distill", "P_MASK", 2),
    ("distill", "TEACHERS", "model1/3-0.5681"),
    ("distill", "UNLABELLED", "more.txt"),
    ("distill", "UNLABELLED", Path("more.txt")),
    ("distill", "NGRAM_WEIGHT", 1.1),
    ("distill", "OUTPUT", "model3"),
    ("distill", "OUTPUT", Path(".")),
    ("distill", "KNOWLEDGE", Path("~/knowledge")),
    ("distill", "DROPOUT", 0.999999),
]


@pytest.mark.parametrize(("script", "constant", "value"), WRONG, ids=lambda value: str(value))
def test_a_wrong_constant_is_named_with_its_value_and_what_is_allowed(script, constant, value, scratch, monkeypatch):
    stage = importlib.import_module(script)
    monkeypatch.setattr(stage, constant, value)
    with pytest.raises(SystemExit) as stop:
        stage.main()
    assert stop.value.code == f"{constant} = {value!r} in {script}.py: give {RULES[constant].allowed}."
    assert not list(scratch.iterdir())  # nothing was done


def test_two_probabilities_that_are_too_much_together(monkeypatch):
    import distill

    monkeypatch.setattr(distill, "P_MASK", 0.6)
    monkeypatch.setattr(distill, "P_POS", 0.6)
    with pytest.raises(SystemExit, match=r"P_MASK = 0\.6 and P_POS = 0\.6 in distill\.py: give two numbers"):
        distill.main()


def test_two_folders_of_one_name(monkeypatch):
    import distill

    monkeypatch.setattr(distill, "OUTPUT", Path("knowledge").absolute())
    with pytest.raises(
        SystemExit, match=r"KNOWLEDGE and OUTPUT in distill\.py are both .*knowledge: give each its own"
    ):
        distill.main()


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_constant_has_a_rule_and_the_defaults_keep_to_it(script):
    stage = importlib.import_module(script)
    tree = ast.parse(Path(stage.__file__).read_text(encoding="utf-8"))
    targets = [
        node.targets[0] if isinstance(node, ast.Assign) else node.target
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign)
    ]
    constants = {target.id for target in targets if target.id.isupper()}
    assert constants - OTHERS <= set(RULES) and len(constants) <= 28
    assert set(settings_of(vars(stage))) <= constants  # and nothing that was imported


@pytest.mark.parametrize("argument", ["--epochs", "--epochs=99"])
def test_arguments_are_refused_and_the_constant_is_named(argument, scratch):
    result = run_script("train_bilstm.py", scratch, argument, "99")
    assert result.returncode == 1 and not list(scratch.iterdir())
    assert result.stderr == "train_bilstm.py takes no arguments: set EPOCHS at the top of it.\n"


def test_the_first_thing_that_a_script_says_is_what_it_is(scratch):
    result = run_script("train_bilstm.py", scratch)
    assert result.stderr.startswith("Stage 3 of 5: train the student alone, on the labels; loading the libraries ...\n")
