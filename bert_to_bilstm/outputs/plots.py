"""Pictures of a training and of the report, by matplotlib; the same bytes for the same numbers."""

import io
from pathlib import Path

import pandas
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.ticker import MaxNLocator

from bert_to_bilstm.files import write_bytes

DOTS_PER_INCH = 120
LARGEST = 24  # inches; a confusion matrix of more classes than fit has smaller letters
NUMBERED_CELLS = 30  # classes; the cells of a larger confusion matrix are too small for numbers
COLOURS = {
    "n-gram model": "tab:gray",
    "teacher": "tab:blue",
    "student alone": "tab:orange",
    "distilled student": "tab:green",
}


def save(figure: Figure, path: Path) -> None:
    """Writes `figure` to `path` under a temporary name, then renames it."""
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})  # None: no version inside
    write_bytes(path, png.getvalue())


def draw_curve(axes: Axes, values: pandas.Series, label: str, colour: str) -> None:
    """`values` by epoch, with a ring round the best epoch."""
    axes.plot(values.index, values, marker=".", color=colour, label=label)
    axes.plot(values.idxmax(), values.max(), marker="o", markersize=11, fillstyle="none", color=colour)


def draw_epochs(axes: Axes, ylabel: str) -> None:
    """Whole epochs below, a grid behind."""
    axes.set_xlabel("epoch")
    axes.set_ylabel(ylabel)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(alpha=0.3)


def draw_history(path: Path, history: list[dict[str, str]]) -> None:
    """The train loss and the dev accuracy of one training by epoch, side by side; `history`: rows of history.csv."""
    epochs = [int(row["epoch"]) for row in history]
    loss = pandas.Series([float(row["train_loss"]) for row in history], epochs)
    accuracy = pandas.Series([float(row["valid_accuracy"]) for row in history], epochs)
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(loss.index, loss, marker=".", color="tab:gray")
    draw_epochs(left, "train loss")
    draw_curve(right, accuracy, "dev accuracy", "tab:blue")
    draw_epochs(right, "dev accuracy")
    right.set_title(f"best: {accuracy.max():.4f} in epoch {accuracy.idxmax()}", fontsize="medium")
    save(figure, path)


def draw_comparison(path: Path, accuracies: pandas.DataFrame) -> None:
    """Dev accuracy by epoch, a column a model, as the article compares them; models may have different epochs."""
    figure = Figure(figsize=(8, 4.8), layout="constrained")
    axes = figure.subplots()
    for name, column in accuracies.items():
        values = column.dropna()
        if name == "n-gram model":  # it has no epochs
            axes.axhline(values.iloc[0], linestyle="--", color=COLOURS[name], label=f"{name}, {values.iloc[0]:.4f}")
            continue
        draw_curve(axes, values, f"{name}, best {values.max():.4f}", COLOURS[name])
    draw_epochs(axes, "dev accuracy")
    axes.legend()
    save(figure, path)


def draw_confusion_matrix(path: Path, matrix: pandas.DataFrame, title: str) -> None:
    """`matrix`: rows the true classes, columns the predicted ones, each row's shares adding up to 1."""
    classes = len(matrix)
    side = min(4 + 0.45 * classes, LARGEST)
    points = min(9.0, 0.75 * 72 * (side - 3) / classes)  # as high as a row allows
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(matrix, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(classes), matrix.columns, rotation=90, fontsize=points, parse_math=False)
    axes.set_yticks(range(classes), matrix.index, fontsize=points, parse_math=False)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(title, fontsize="medium", parse_math=False)
    figure.colorbar(image, ax=axes, label="share of the true class", shrink=0.8)
    for row, column in [(r, c) for r in range(classes) for c in range(classes)] if classes <= NUMBERED_CELLS else []:
        share = matrix.iat[row, column]
        if share >= 0.005:  # what would be printed as 0.00 is left out
            colour = "white" if share > 0.5 else "black"
            axes.text(
                column, row, f"{share:.2f}".lstrip("0"), ha="center", va="center", fontsize=0.8 * points, color=colour
            )
    save(figure, path)


def draw_ablation(path: Path, accuracies: dict[str, list[float]]) -> None:
    """A line a row, from the top: a dot a seed, a stroke at their mean."""
    figure = Figure(figsize=(8, 1 + 0.3 * len(accuracies)), layout="constrained")
    axes = figure.subplots()
    for line, (name, values) in enumerate(accuracies.items()):
        model = next((model for model in COLOURS if name.startswith(model)), "distilled student")
        colour = COLOURS[model]
        axes.plot(values, [line] * len(values), ".", color=colour, alpha=0.6)
        axes.plot(sum(values) / len(values), line, marker="|", markersize=14, markeredgewidth=2, color=colour)
    axes.set_yticks(range(len(accuracies)), list(accuracies))
    axes.invert_yaxis()
    axes.set_xlabel("dev accuracy, last epoch: a dot a seed, a stroke their mean")
    axes.grid(alpha=0.3)
    save(figure, path)


def drawable(text: str) -> bool:
    """Whether matplotlib's own font has every character of `text`; it has no Chinese ones."""
    font = get_font(findfont(FontProperties()))
    return text.isprintable() and all(font.get_char_index(ord(character)) for character in text)
