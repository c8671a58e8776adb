"""Draw a data flow as boxes: one row a layer, lines between them; or as words where boxes are not wanted."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

UP, DOWN, LEFT, RIGHT = 1, 2, 4, 8
_LINES: Final = {
    UP | DOWN: "│",
    LEFT | RIGHT: "─",
    UP | RIGHT: "└",
    UP | LEFT: "┘",
    DOWN | RIGHT: "┌",
    DOWN | LEFT: "┐",
    UP | DOWN | RIGHT: "├",
    UP | DOWN | LEFT: "┤",
    DOWN | LEFT | RIGHT: "┬",
    UP | LEFT | RIGHT: "┴",
    UP | DOWN | LEFT | RIGHT: "┼",
    UP: "│",
    DOWN: "│",
    LEFT: "─",
    RIGHT: "─",
}
Edge = tuple[str, str]


@dataclass(frozen=True, slots=True)
class _Place:
    """A node on the grid: its layer and the column of its middle. A node without a label only passes a line on."""

    layer: int
    middle: int
    label: str


def draw_boxes(
    names: Sequence[str], edges: Sequence[Edge], *, width: int = 80, labels: Mapping[str, str] | None = None
) -> str:
    """Return the flow drawn top to bottom.

    Args:
        names: Nodes, in the order they were mentioned.
        edges: From, to; without a cycle.
        width: Columns to stay within; too narrow a window gets the words instead.
        labels: Node → what its box says; default its name.
    """
    layers = _layers(names, edges)
    chains = _with_passes(layers, edges)
    rows = _rows(layers, chains)
    text = {name: (labels or {}).get(name, name) for name in names}
    cell = max(len(label) for label in text.values()) + 6
    if cell * max(len(row) for row in rows) > width:
        return draw_words(names, edges)
    places = _place(rows, text, cell)
    return _render(rows, places, chains, cell * max(len(row) for row in rows))


def draw_words(names: Sequence[str], edges: Sequence[Edge]) -> str:
    """Return the flow as one line a node: ``guard -> embed, keywords``."""
    lines = []
    for name in names:
        targets = [target for source, target in edges if source == name]
        if targets:
            lines.append(f"{name} -> {', '.join(targets)}")
    return "\n".join(lines)


def _layers(names: Sequence[str], edges: Sequence[Edge]) -> dict[str, int]:
    """Return the length of the longest path to each node."""
    layers = dict.fromkeys(names, 0)
    for _ in names:
        for source, target in edges:
            layers[target] = max(layers[target], layers[source] + 1)
    return layers


def _with_passes(layers: Mapping[str, int], edges: Sequence[Edge]) -> list[list[tuple[int, str]]]:
    """Return each edge as a chain of (layer, node), with a pass node in every layer it skips."""
    chains = []
    for source, target in edges:
        between = [(layer, f"|{layer}|{source}|{target}") for layer in range(layers[source] + 1, layers[target])]
        chains.append([(layers[source], source), *between, (layers[target], target)])
    return chains


def _rows(layers: Mapping[str, int], chains: Sequence[Sequence[tuple[int, str]]]) -> list[list[str]]:
    rows: list[list[str]] = [[] for _ in range(max(layers.values()) + 1)]
    for name, layer in layers.items():
        rows[layer].append(name)
    for chain in chains:
        for layer, name in chain[1:-1]:
            rows[layer].append(name)
    return [_ordered(row, rows[index - 1] if index else [], chains) for index, row in enumerate(rows)]


def _ordered(row: Sequence[str], above: Sequence[str], chains: Sequence[Sequence[tuple[int, str]]]) -> list[str]:
    """Order a row by the mean position of what feeds it, so that few lines cross."""
    feeds: dict[str, list[int]] = {name: [] for name in row}
    for chain in chains:
        for (_, source), (_, target) in pairwise(chain):
            if target in feeds and source in above:
                feeds[target].append(above.index(source))
    return sorted(row, key=lambda name: sum(feeds[name]) / len(feeds[name]) if feeds[name] else 0.0)


def _place(rows: Sequence[Sequence[str]], text: Mapping[str, str], cell: int) -> dict[str, _Place]:
    total = cell * max(len(row) for row in rows)
    places = {}
    for layer, row in enumerate(rows):
        step = total / len(row)
        for index, name in enumerate(row):
            places[name] = _Place(layer, int(step * (index + 0.5)), text.get(name, ""))
    return places


def _render(
    rows: Sequence[Sequence[str]], places: Mapping[str, _Place], chains: Sequence[Sequence[tuple[int, str]]], width: int
) -> str:
    lines: list[str] = []
    for layer, row in enumerate(rows):
        lines += _draw_row([places[name] for name in row], width)
        pairs = [
            (places[source].middle, places[target].middle)
            for chain in chains
            for (at, source), (_, target) in pairwise(chain)
            if at == layer
        ]
        if pairs:
            lines.append(_connect(sorted(set(pairs)), width))
    return "\n".join(line.rstrip() for line in lines)


def _draw_row(places: Sequence[_Place], width: int) -> list[str]:
    grid = [[" "] * width for _ in range(3)]
    for place in places:
        if not place.label:
            for line in grid:
                line[place.middle] = "│"
            continue
        half = (len(place.label) + 4) // 2
        left = max(place.middle - half, 0)
        box = ("┌" + "─" * (len(place.label) + 2) + "┐", f"│ {place.label} │", "└" + "─" * (len(place.label) + 2) + "┘")
        for line, part in zip(grid, box, strict=True):
            line[left : left + len(part)] = part
    return ["".join(line) for line in grid]


def _connect(pairs: Sequence[tuple[int, int]], width: int) -> str:
    mask = [0] * width
    for source, target in pairs:
        mask[source] |= UP
        mask[target] |= DOWN
        low, high = sorted((source, target))
        for column in range(low, high + 1):
            mask[column] |= (LEFT if column > low else 0) | (RIGHT if column < high else 0)
    return "".join(_LINES.get(bits, " ") for bits in mask)
