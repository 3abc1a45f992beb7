"""The README.md that every checkpoint carries, in the form of the hub's model cards."""

from huggingface_hub import ModelCardData
from transformers import PreTrainedModel

# `path` is this folder, or the name that it is given on the hub.
USE = """```python
from transformers import pipeline

classify = pipeline("text-classification", model=path{trust}, truncation=True)
answer = classify("…")[0]  # {{"label": "…", "score": …}}
classify.model.config.label_descriptions[answer["label"]]  # what the label means
```

or `AutoModelForSequenceClassification.from_pretrained(path{trust})` and `AutoTokenizer.from_pretrained(path{trust})`,
where `path` is this folder or its name on the hub. The tokenizer takes texts as they are written and normalises them
itself. Tried with transformers 4.57 and 5.23."""


def table(*rows: tuple) -> str:
    """A Markdown table, the first row its head."""
    cells = [[str(cell).replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    lines = ["| " + " | ".join(row) + " |" for row in cells]
    return "\n".join([lines[0], "| --- " * len(rows[0]) + "|", *lines[1:]])


def model_card(model: PreTrainedModel, history: list[dict[str, str]], settings: dict, sentences: dict[str, int]) -> str:
    """The card of a checkpoint: how it was trained, on what, with which accuracy, and how it is loaded.

    `history` holds the rows of history.csv up to this epoch, `settings` what run.json records, `sentences` how many
    there are in train and dev. Nothing in it depends on the time or the machine: the same run gives the same card.
    """
    own_code = type(model)._auto_class is not None  # the student: its code lies in the checkpoint
    distilled = "teachers" in settings
    data = ModelCardData(
        library_name="transformers",
        pipeline_tag="text-classification",
        tags=["text-classification", model.config.model_type, *(["knowledge-distillation"] if distilled else [])],
    )
    method = "trained on the answers of a teacher (knowledge distillation)" if distilled else "trained on the labels"
    epoch, accuracy = history[-1]["epoch"], history[-1]["valid_accuracy"]
    used = [(name, f"`{value}`") for name, value in settings.items()]
    epochs = [(row["epoch"], row["train_loss"], row["valid_accuracy"]) for row in history]
    return "\n\n".join(
        [
            f"---\n{data.to_yaml()}\n---",
            f"# {type(model).__name__} for text classification",
            f"{model.num_parameters():,} parameters, {model.config.num_labels} classes, {method} "
            f"on {sentences['train']:,} sentences. "
            f"Accuracy on {sentences['dev']:,} dev sentences after epoch {epoch}: **{accuracy}**.",
            "## Use",
            USE.format(trust=", trust_remote_code=True" if own_code else ""),
            "## Training",
            table(("setting", "value"), *used),
            table(("epoch", "train loss", "dev accuracy"), *epochs),
            "## Classes",
            table(("label", "description"), *model.config.label_descriptions.items()),
            "",
        ]
    )
