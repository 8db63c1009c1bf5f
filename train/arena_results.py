"""The tables of train/arena.py, and the curves of error against colorfulness."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from colorizer.models.base import written_aside
from train import evaluate
from train.ladder_results import compact, machine_lines

REFERENCE = "flagship"  # the row that all others are read against
BUNDLED = "fusion_compact"  # measured beside the rows, whatever it was trained with

COLUMNS = (
    "rmse_to_gray", "colorfulness_to_truth", "histogram_distance", "gain", "equal_rmse_to_gray",
    "equal_histogram_distance", "equal_auc_rebalanced", "cross_entropy",
)  # fmt: skip
PARTS = {"field": "The field", "ablation": "One change at a time", "yours": "Recipes given by --recipes"}


def markdown(results: dict[str, Any], drawn: Sequence[str]) -> str:
    """The tables, for people; `drawn`: the parts that there is a figure of, arena-<part>.png."""
    rows = results["rows"]
    lines = [
        "# The arena",
        "",
        f"By `{results['command']}`; [experiments.md](experiments.md) says what was learned from it.",
        "",
        f"Every row saw {results['views']:,} views of {results['resolution']} pixels, in batches of "
        f"{results['batch_size']}, unless it says otherwise, and was measured at the working size "
        f"{results['working_size']}: at its own default dials, and with the chroma scaled until the mean colorfulness "
        "was within 1% of the truth's (train/evaluate.py explains the figures). fusion_compact is the bundled model, "
        "which saw more views, of up to 192 pixels, has a second embedder that knew ImageNet, and is measured at its "
        "own working size and dials, balance and restraint among them; no other row has any of these.",
        "",
    ]
    lines += machine_lines(rows)
    for part, title in PARTS.items():
        of_part = {name: entry for name, entry in rows.items() if entry["part"] == part}
        if any(entry["status"] != "not run" for entry in of_part.values()):
            lines += [f"## {title}", "", *run_table(of_part), ""]
            for photos, judged in results["sets"].items():
                shown = [name for name in of_part if name in judged["rows"]]
                # What all are read against: the plain answers above, the flagship and the bundled weights below.
                plain = ("gray", "one color") if part == "field" else ("gray",)
                below = [name for name in (REFERENCE, BUNDLED) if name not in shown]
                if part != "field":
                    below += [name for name in judged["rows"] if name.startswith(f"{REFERENCE}-seed")]
                lines += [f"### {photos} ({judged['photographs']} photographs)", ""]
                named = [name for name in (*plain, *shown, *below) if name in judged["rows"]]
                lines += [*figure_table(judged["rows"], named), ""]
            lines += [f"![Error against colorfulness](arena-{part}.png)", ""] if part in drawn else []
    return "\n".join(lines)


def run_table(rows: dict[str, dict]) -> list[str]:
    """What each row is and what its training cost."""
    lines = ["| row | what it is | parameters | FLOPs | minutes |", "|---|---|---:|---:|---:|"]
    for name, entry in rows.items():
        if entry["status"] == "trained":
            cells = f"{compact(entry['parameters'])} | {compact(entry['flops'])} | {entry['minutes']:.1f}"
        else:
            cells = f"{entry['status']}{': ' + entry['reason'] if entry.get('reason') else ''} | | "
        lines.append(f"| {name} | {entry['shows']} | {cells} |")
    return lines


def figure_table(judged: dict[str, dict], names: Sequence[str]) -> list[str]:
    """The figures of some rows on one set."""
    alone = {"rmse_to_gray": "ab RMSE to gray's", "colorfulness_to_truth": "CF to truth's"}  # without columns before
    lines = [
        "| | " + " | ".join(alone.get(key, evaluate.COLUMNS[key][0]) for key in COLUMNS) + " |",
        "|---" + "|---:" * len(COLUMNS) + "|",
    ]
    for name in names:
        cells = [
            format(judged[name][key], evaluate.COLUMNS[key][1]) if judged[name].get(key) is not None else ""
            for key in COLUMNS
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


# Okabe and Ito's colors, which people with any color vision can tell apart; yellow is too light for a line.
LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999")
STYLES = ("-", "--", ":")


def drawn_parts(results: dict[str, Any]) -> list[str]:
    """The parts that have a curve to draw."""
    with_curves = {
        name for judged in results["sets"].values() for name, row in judged["rows"].items() if "curve" in row
    }
    return [part for part in PARTS if any(results["rows"][name]["part"] == part for name in with_curves)]


def draw_curves(results: dict[str, Any], part: str, path: Path) -> None:
    """Draws ab RMSE against colorfulness, over the dials, of the rows of a part, one panel a test set."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    sets = results["sets"]
    names = [name for name, entry in results["rows"].items() if entry["part"] == part and name != REFERENCE]
    looks = {name: (LINES[place % len(LINES)], STYLES[place // len(LINES) % 3]) for place, name in enumerate(names)}
    looks |= {REFERENCE: ("black", "-"), BUNDLED: ("black", "--")}
    with_curves = {name for judged in sets.values() for name, row in judged["rows"].items() if "curve" in row}
    looks = {name: look for name, look in looks.items() if name in with_curves}  # a row's look is its own for good
    figure, axes = plt.subplots(1, len(sets), figsize=(5 * len(sets), 7), layout="constrained", squeeze=False)
    for axis, (photos, judged) in zip(axes[0], sets.items(), strict=True):
        for name, (color, style) in looks.items():
            points = judged["rows"].get(name, {}).get("curve", [])
            axis.plot(
                [point["colorfulness_to_truth"] for point in points],
                [100 * point["rmse_to_gray"] for point in points],
                style, color=color, marker=".", linewidth=1.2, label=name,
            )  # fmt: skip
        for label, mark in {"gray": "k^", "one color": "kx"}.items():
            if label in judged["rows"]:
                row = judged["rows"][label]
                axis.plot(row["colorfulness_to_truth"], 100 * row["rmse_to_gray"], mark, label=label)
        axis.axvline(1, color="#cccccc", linewidth=0.8, zorder=0)
        axis.axhline(0, color="#cccccc", linewidth=0.8, zorder=0)
        axis.set(title=photos, xlabel="colorfulness, of the truth's")
        axis.set_xlim(-0.05, 1.5)  # beyond it nobody would turn a dial
        axis.set_ylim(top=30)  # worse than that is told by the table; nothing below is cut off
    axes[0][0].set_ylabel("ab RMSE to gray's, %")
    axes[0][-1].legend(fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))
    with written_aside(path) as partial:
        figure.savefig(partial, format="png", dpi=90)
    plt.close(figure)
