"""What a model is to recall, and the real text that it stands in: definitions among code, facts among documents."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final, Literal

from llmdrill.errors import UsageError
from llmdrill.folders import shipped_folder
from llmdrill.lab.held_out import held_out_texts
from llmdrill.retrieval.labelled import load_labelled_corpus

if TYPE_CHECKING:
    import random

    from llmdrill.lab.tokenizer import Tokenizer

Line = tuple[int, ...]
Task = Literal["code", "facts"]
# Names are put together from words that the standard library's own names are made of; no module has these combinations,
# and what the model would say without the definition is measured beside.
_VERBS: Final = (
    "load parse check find make read build send merge split scan reset open close write fetch join sort copy"
)
_NOUNS: Final = (
    "file module class data line code info header func task event method handler thread config text time offset version"
    " count mode result format source cache argument buffer socket group content frame future message server host child"
    " length level factory block stack match option trace signal package token number sign index item payload color"
    " resource width network"
)
_ARGUMENTS: Final = "source target limit depth offset stream pattern default encoding timeout"
_PLACES: Final = (
    "Aarhus Bergen Bruges Cadiz Delft Evora Genoa Ghent Graz Izmir Kaunas Leeds Linz Lodz Malmo Nancy Ostrava Parma"
    " Porto Rouen Siena Split Tampere Tartu Turku Uppsala Varna Vigo Zadar Zurich"
)
_THINGS: Final = "access code,dock number,fire assembly point,badge prefix,backup window,radio channel"
DISTRACTING_FACTS: Final = 3  # of other places, in every context: the answer is not the only number there
LONGEST_LINE_TOKENS: Final = 60  # longer ones are tables; with them no depth could be met


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of a prompt and how it goes on if what was defined is recalled."""

    name: str
    cue: str
    answer: str


@dataclass(frozen=True, slots=True)
class Needle:
    """One case.

    Attributes:
        definition: Whole lines that are put among the text, beginning with a line break.
        endings: What is asked, each by itself, at the end.
        distractors: Whole lines of the same kind that stand in the text besides.
        query: What a retriever would be asked.
    """

    definition: str
    endings: tuple[Ending, ...]
    distractors: tuple[str, ...]
    query: str


@dataclass(frozen=True, slots=True)
class Material:
    """Texts to put needles into: what they are, and each as its lines, a line as its tokens."""

    what: str
    texts: tuple[tuple[Line, ...], ...]


@dataclass(frozen=True, slots=True)
class Haystack:
    """Lines of real text, each as its tokens; the first begins with a line break as all do."""

    lines: tuple[Line, ...]

    @property
    def ids(self) -> list[int]:
        """Return all tokens."""
        return [token for line in self.lines for token in line]

    def cut(self, depth: float) -> int:
        """Return after how many tokens the line ends whose end is nearest to that share of all tokens."""
        ends = [0]
        for line in self.lines:
            ends.append(ends[-1] + len(line))
        return min(ends, key=lambda end: abs(end - depth * ends[-1]))


def load_material(task: Task, tokenizer: Tokenizer) -> Material:
    """Return held-out modules for code, the shipped corpus of documents for facts; very long lines are left out.

    Raises:
        UsageError: If the standard library is not there as source.
    """
    if task == "code":
        texts, what = [one.text for one in held_out_texts()], "held-out modules of the standard library"
    else:
        corpus = load_labelled_corpus(shipped_folder("scenarios") / "rag")
        texts, what = [document.text for document in corpus.documents], "documents of the shipped corpus 'rag'"
    lines = (tuple(one for one in lines_of(text, tokenizer) if len(one) <= LONGEST_LINE_TOKENS) for text in texts)
    return Material(what, tuple(one for one in lines if one))


def lines_of(text: str, tokenizer: Tokenizer) -> tuple[Line, ...]:
    """Return the tokens of a text, cut before each that breaks a line and may hold the next one's indentation."""
    ids = tokenizer.encode("\n" + text)
    breaks = {token: b"\n" in _bytes_of(tokenizer, token) for token in set(ids)}
    starts = [at for at, token in enumerate(ids) if at == 0 or (breaks[token] and not breaks[ids[at - 1]])]
    return tuple(tuple(ids[start:end]) for start, end in pairwise((*starts, len(ids))))


def _bytes_of(tokenizer: Tokenizer, token: int) -> bytes:
    own = tokenizer.token_bytes(token)
    return tokenizer.decode([token]).encode() if own is None else own


def draw_haystack(material: Material, *, tokens: int, rng: random.Random) -> Haystack:
    """Return lines of at most so many tokens, from a random line of a random text on; others follow where it ends.

    Unless no token is asked for, at least one line comes out: where the first is too long, another beginning is drawn.
    """
    lines: list[Line] = []
    room = tokens
    text, begin = _beginning(material, rng)
    while tokens > 0:
        for line in text[begin:]:
            if len(line) > room:
                break
            lines.append(line)
            room -= len(line)
        else:
            text, begin = rng.choice(material.texts), 0
            continue
        if lines:
            break
        text, begin = _beginning(material, rng)
    return Haystack(tuple(lines))


def _beginning(material: Material, rng: random.Random) -> tuple[tuple[Line, ...], int]:
    """Return a text and a line of its first three quarters."""
    text = rng.choice(material.texts)
    return text, rng.randrange(max(1, 3 * len(text) // 4))


def draw_needles(task: Task, *, count: int, rng: random.Random) -> tuple[Needle, ...]:
    """Return so many cases, no two of the same name.

    Raises:
        UsageError: If there are fewer names than cases.
    """
    draw = _code_needle if task == "code" else _fact_needle
    found: dict[str, Needle] = {}
    for _ in range(50 * count):
        needle = draw(rng)
        found.setdefault(needle.endings[0].cue, needle)
        if len(found) == count:
            return tuple(found.values())
    raise UsageError(f"{count} cases: there are names for about {len(found)}; ask for fewer")


def _code_needle(rng: random.Random) -> Needle:
    verb, (one, other, value) = rng.choice(_VERBS.split()), rng.sample(_NOUNS.split(), 3)
    first, second = rng.sample(_ARGUMENTS.split(), 2)
    constant, name = f"{one}_{other}_name", f"{verb}_{one}_{other}"
    definition = f"\n\n\n{constant} = '{value}'\n\n\ndef {name}({first}, {second}):\n    return {constant}"
    endings = (
        Ending("call", f"\n\nresult = {verb}_{one}", f"_{other}("),
        Ending("arguments", f"\n\nresult = {name}(", f"{first}, {second})"),
        Ending("constant", f"\n\n{constant} =", f" '{value}'\n"),
    )
    return Needle(definition, endings, (), f"result {verb} {one}")


def _fact_needle(rng: random.Random) -> Needle:
    thing = rng.choice(_THINGS.split(","))
    place, *others = rng.sample(_PLACES.split(), 1 + DISTRACTING_FACTS)
    number, *wrong = rng.sample(range(1000, 10_000), 1 + DISTRACTING_FACTS)
    says = "\n\nThe {} of the {} depot is {}.".format
    question = f"What is the {thing} of the {place} depot?"
    cue = f"\n\nQuestion: {question}\nAnswer: The {thing} of the {place} depot is"
    facts = tuple(says(thing, elsewhere, other) for elsewhere, other in zip(others, wrong, strict=True))
    return Needle(says(thing, place, number), (Ending("answer", cue, f" {number}"),), facts, question)
