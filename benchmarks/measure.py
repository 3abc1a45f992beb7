"""What the lines of `bench.py` share: sides measured in turn, memory, processes, and how the result is told."""

import multiprocessing
import platform
import statistics
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

PEAK_BF16 = {"H100": 989e12, "H200": 989e12}  # FLOP a second, dense, of the cards whose data sheets we have read


def in_turn(*sides: Callable[[], float], rounds: int) -> list[list[float]]:
    """What each side measured in each round; A B A B …, so that a machine that slows down does so for all."""
    taken = [[side() for side in sides] for _ in range(rounds)]
    return [list(figures) for figures in zip(*taken, strict=True)]


def in_a_child(function: Callable, *arguments: object) -> Any:
    """What `function` returns in a fresh process, whose memory and caches hold nothing of an earlier measurement."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def memory(field: str) -> float:
    """Memory of this process in MB, resident (`VmRSS`) or the most it ever was (`VmHWM`); nan where it isn't Linux."""
    status = Path("/proc/self/status")
    if not status.exists():
        return float("nan")
    return int(status.read_text(encoding="utf-8").split(field + ":")[1].split()[0]) * 1024 / 1e6


def share_of_peak(model: PreTrainedModel, tokens_per_second: float) -> str:
    """The share of the card's bf16 peak that training takes: 6 FLOP a parameter and token, embeddings not counted.

    Empty on the CPU, and on a card that PEAK_BF16 doesn't name. The rule: Kaplan et al. 2020, arXiv 2001.08361.
    """
    card = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    peak = next((peak for name, peak in PEAK_BF16.items() if name in card), None)
    if peak is None:
        return ""
    parameters = model.num_parameters(exclude_embeddings=True)
    return f"{6 * parameters * tokens_per_second / peak:.1%} of the card's bf16 peak"


def compare(
    what: str,
    against: str,
    unit: str,
    ours: list[float],
    other: list[float],
    target: float | None = None,
    note: str = "",
) -> dict:
    """A line of the result; its ratio is that of the medians, above 1 where ours does more a second or takes less."""
    sides = {
        name: {"median": statistics.median(figures), "min": min(figures), "max": max(figures)}
        for name, figures in (("ours", ours), ("other", other))
    }
    ratio = sides["ours"]["median"] / sides["other"]["median"]
    ratio = ratio if unit.endswith("/s") else 1 / ratio
    return {"what": what, "against": against, "unit": unit, **sides, "ratio": ratio, "target": target, "note": note}


def scaling(what: str, unit: str, sizes: Sequence[int], figures: Sequence[float], said: str) -> dict:
    """A line of the result that tells how something grows; `said` puts it into words."""
    return {"what": what, "unit": unit, "sizes": list(sizes), "figures": figures, "said": said}


def machine() -> dict:
    """The processor or card, and the versions."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return {
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "processor": names[0] if names else platform.processor(),
        "threads": torch.get_num_threads(),
        "amx": torch.cpu._is_amx_tile_supported(),
        "torch": torch.__version__,
        "transformers": version("transformers"),
        "date": date.today().isoformat(),
    }


def kind(machine: dict) -> str:
    """Names the kind of `machine()`, for a file: `nvidia-h200`, `cpu-2-threads-amx`."""
    if machine["gpu"]:
        return machine["gpu"].lower().replace(" ", "-")
    return f"cpu-{machine['threads']}-threads" + ("-amx" if machine["amx"] else "")


def table(result: dict) -> str:
    """The result as text: machine, comparisons (medians, least and greatest in brackets), then what grows how."""
    rows = [("what", "against", "ours", "the other", "ratio", "target")]
    rest = []
    for line in result["lines"]:
        if "said" in line:
            pairs = zip(line["sizes"], line["figures"], strict=True)
            figures = ", ".join(f"{size:,}: {figure:,.4g}" for size, figure in pairs)
            rest.append(f"{line['what']}, {line['unit']}: {figures} ({line['said']})")
            continue
        medians = [
            f"{side['median']:,.4g} ({side['min']:,.4g}–{side['max']:,.4g}) {line['unit']}"
            for side in (line["ours"], line["other"])
        ]
        target = f"≥ {line['target']}×" if line["target"] else ""
        rows.append((line["what"], line["against"], *medians, f"{line['ratio']:.2f}×", target))
        if line["note"]:
            rest.append(f"{line['what']}: {line['note']}")
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    cells = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows]
    about = [", ".join(f"{name} {value}" for name, value in result["machine"].items() if value), result["data"], ""]
    return "\n".join([*about, *("  ".join(row).rstrip() for row in cells), "", *rest])
