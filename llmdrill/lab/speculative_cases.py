"""What is generated in `llmdrill lab speculative`: beginnings of held-out files, to be continued or written again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from llmdrill.errors import UsageError
from llmdrill.lab.held_out import held_out_texts
from llmdrill.lab.tokenizer import load_tokenizer

if TYPE_CHECKING:
    from collections.abc import Sequence

Setting = Literal["continue", "rewrite"]
SETTINGS: Final[tuple[Setting, ...]] = ("continue", "rewrite")
BEGUN_TOKENS: Final = 48  # of the file, already written again, in the setting "rewrite"
CHARACTERS_A_TOKEN: Final = 16  # at most, over a whole file: no more of it is tokenized than is needed
NGRAM_TOKENS: Final = 4  # of which a text counts as repeated


@dataclass(frozen=True, slots=True)
class Case:
    """One text to generate.

    Attributes:
        setting: ``continue``: the prompt is the first part of a file. ``rewrite``: it is the first part, and then its
            beginning once more, as where code is edited and most of it stays.
        path: Of the file, in the standard library.
        prompt: Its tokens.
        own: The tokens that really follow in the file; none for ``rewrite``.
    """

    setting: Setting
    path: str
    prompt: tuple[int, ...]
    own: tuple[int, ...] = ()


def held_out_cases(model: str | None, *, files: int, prompt_tokens: int, output_tokens: int) -> tuple[Case, ...]:
    """Return both settings for so many held-out files, taken evenly from those that are long enough.

    Raises:
        UsageError: If no held-out file is long enough, or the prompt is too short to begin a file twice.
    """
    if prompt_tokens <= 2 * BEGUN_TOKENS:
        raise UsageError(f"a prompt of {prompt_tokens} tokens: it needs more than {2 * BEGUN_TOKENS}")
    tokenizer = load_tokenizer(model)
    begin = () if tokenizer.end_of_text_id is None else (tokenizer.end_of_text_id,)
    cut = prompt_tokens + output_tokens
    most = cut * CHARACTERS_A_TOKEN
    texts = ((one.path, (*begin, *tokenizer.encode(one.text[:most]))) for one in held_out_texts())
    enough = [(path, ids[:cut]) for path, ids in texts if len(ids) >= cut]
    if not enough:
        raise UsageError(f"no held-out file has {cut} tokens: ask for a shorter prompt or output")
    chosen = enough[:: max(1, len(enough) // files)][:files]
    return tuple(case for path, ids in chosen for case in _both_settings(path, ids, prompt_tokens))


def _both_settings(path: str, ids: tuple[int, ...], prompt_tokens: int) -> tuple[Case, Case]:
    again = (*ids[: prompt_tokens - BEGUN_TOKENS], *ids[:BEGUN_TOKENS])
    return Case("continue", path, ids[:prompt_tokens], ids[prompt_tokens:]), Case("rewrite", path, again)


def repeated_share(prompt: Sequence[int], output: Sequence[int]) -> float:
    """Return the share of output tokens that end an n-gram of 4 tokens which the text already had.

    >>> repeated_share([1, 2, 3, 4], [5, 1, 2, 3, 4])
    0.2
    """
    text, seen, repeated = [*prompt, *output], set(), 0
    for end in range(NGRAM_TOKENS, len(text) + 1):
        ngram = tuple(text[end - NGRAM_TOKENS : end])
        repeated += end > len(prompt) and ngram in seen
        seen.add(ngram)
    return repeated / len(output)
