"""Pictures of a training and of the report, by matplotlib; the same bytes for the same numbers."""

import io
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, findSystemFonts, fontManager, get_font
from matplotlib.ticker import MaxNLocator

from bert_to_bilstm.files import write_bytes
from bert_to_bilstm.stages import say

DOTS_PER_INCH = 120
LARGEST = 24  # inches; a confusion matrix of more classes than fit has smaller letters
NUMBERED_CELLS = 30  # classes; the cells of a larger confusion matrix are too small for numbers
# Fonts with Chinese characters, as Linux, macOS and Windows have them; the first that is there is taken.
CJK_FONTS = re.compile(
    "(Noto|Source Han) Sans (CJK )?(SC|CN|JP|TC|HK|KR)|Source Han Sans|WenQuanYi .*|PingFang .*|Hiragino Sans GB|"
    "Heiti .*|STHeiti|Microsoft YaHei|DengXian|SimHei|SimSun|Droid Sans Fallback|Arial Unicode MS"
)
OWN_FONT = "DejaVu Sans"  # which comes with matplotlib
WITHOUT_EPOCHS = ("n-gram model", "ensemble")  # models that are a line across the picture
COLOURS = {
    "n-gram model": "tab:gray",
    "teacher": "tab:blue",
    "ensemble": "tab:purple",
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
    axes.plot(best_epoch(values), values.max(), marker="o", markersize=11, fillstyle="none", color=colour)


def best_epoch(values: pandas.Series) -> int:
    """The last one in which they are highest, as `best` links it."""
    return values[::-1].idxmax()


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
    figure = Figure(figsize=(9, 3.6))  # in fixed places: drawn after every epoch, in half of the time
    left, right = figure.subplots(
        1, 2, gridspec_kw={"left": 0.09, "right": 0.98, "bottom": 0.14, "top": 0.91, "wspace": 0.22}
    )
    left.plot(loss.index, loss, marker=".", color="tab:gray")
    draw_epochs(left, "train loss")
    draw_curve(right, accuracy, "dev accuracy", "tab:blue")
    draw_epochs(right, "dev accuracy")
    right.set_title(f"best: {accuracy.max():.4f} in epoch {best_epoch(accuracy)}", fontsize="medium")
    save(figure, path)


def draw_comparison(path: Path, accuracies: pandas.DataFrame) -> None:
    """Dev accuracy by epoch, a column a model, as the article compares them; models may have different epochs."""
    figure = Figure(figsize=(8, 4.8), layout="constrained")
    axes = figure.subplots()
    for name, column in accuracies.items():
        values = column.dropna()
        if name in WITHOUT_EPOCHS:
            axes.axhline(values.iloc[0], linestyle="--", color=COLOURS[name], label=f"{name}, {values.iloc[0]:.4f}")
            continue
        draw_curve(axes, values, f"{name}, best {values.max():.4f}", COLOURS[name])
    draw_epochs(axes, "dev accuracy")
    axes.legend()
    save(figure, path)


def draw_confusion_matrix(path: Path, counts: pandas.DataFrame, descriptions: dict[str, str], title: str) -> None:
    """`counts` of sentences: rows the true labels, columns the predicted ones; drawn are the shares of each row.

    A class is called by its description, or else by its label or its number, whichever the fonts of this machine can
    write; a line says so where one lacks a character of a description.
    """
    matrix = counts.div(counts.sum(axis=1).clip(lower=1), axis=0)  # dev may lack a class
    fonts = text_fonts()
    names = [
        next(name for name in (descriptions[label], label, str(number)) if name and drawable(name, fonts))
        for number, label in enumerate(counts.index)
    ]
    if missing := next((text for text in descriptions.values() if text and not drawable(text, fonts)), ""):
        say(f"{path}: no font here can write {missing!r}: labels or numbers are drawn; install Noto Sans CJK.")
    classes = len(matrix)
    side = min(4 + 0.45 * classes, LARGEST)
    points = min(9.0, 0.75 * 72 * (side - 3) / classes)  # as high as a row allows
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.subplots()
    text: dict[str, Any] = {"fontsize": points, "fontfamily": fonts, "parse_math": False}
    image = axes.imshow(matrix, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(classes), names, rotation=90, **text)
    axes.set_yticks(range(classes), names, **text)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(title, **text | {"fontsize": "medium"})
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
        model = next((model for model in COLOURS if name.startswith(model.split()[0])), "distilled student")
        colour = COLOURS[model]
        axes.plot(values, [line] * len(values), ".", color=colour, alpha=0.6)
        axes.plot(sum(values) / len(values), line, marker="|", markersize=14, markeredgewidth=2, color=colour)
    axes.set_yticks(range(len(accuracies)), list(accuracies))
    axes.invert_yaxis()
    axes.set_xlabel("dev accuracy, last epoch: a dot a seed, a stroke their mean")
    axes.grid(alpha=0.3)
    save(figure, path)


def text_fonts() -> list[str]:
    """matplotlib's own font, which has no Chinese characters, and one of this machine's that has them, if there is."""
    known = {font.fname for font in fontManager.ttflist}
    for file in set(findSystemFonts()) - known:  # installed since matplotlib made its list of fonts
        with suppress(Exception):  # a file that is no font raises whatever freetype stumbles over
            fontManager.addfont(file)
    names = {font.name for font in fontManager.ttflist}
    return [OWN_FONT, *sorted(filter(CJK_FONTS.fullmatch, names))[:1]]


def drawable(text: str, fonts: list[str]) -> bool:
    """Whether the `fonts` together have every character of `text`."""
    faces = [get_font(findfont(name)) for name in fonts]
    return text.isprintable() and all(any(face.get_char_index(ord(one)) for face in faces) for one in text)
