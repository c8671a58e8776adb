"""What an API model costs from a day on."""

from __future__ import annotations

import datetime as dt  # noqa: TC003 - the reader resolves annotations
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TokenRates:
    """What each kind of token costs, in USD per million.

    Attributes:
        output: None for a model that writes no tokens (an embedding model).
        cached_input: For input read from the provider's prompt cache; None if it has no such price.
        cache_write: For input written to it; None if writing costs no more than input.
    """

    input: float
    output: float | None = None
    cached_input: float | None = None
    cache_write: float | None = None


@dataclass(frozen=True, slots=True)
class PriceTier:
    """Rates of every token of a request whose prompt is longer than ``above_tokens``, cached tokens included."""

    above_tokens: int
    standard: TokenRates
    batch: TokenRates | None = None


@dataclass(frozen=True, slots=True)
class Price:
    """What an API model costs from a day on, in USD per million tokens.

    Attributes:
        output_usd_per_mtok: None for a model that writes no tokens (an embedding model).
        cached_input_usd_per_mtok: For input read from the provider's prompt cache; None if it has no such price.
        cache_write_usd_per_mtok: For input written to it; None if writing costs no more than input.
        batch_*: Under the provider's batch interface; None if the source gives none.
        batch_since: First day for which the source gives the batch prices.
        since: First day of this price; None if the source does not say.
        max_context_tokens: The model's context window.
        source: Package and version, or page.
        date: When that copy was published: the price is known to hold on this day.
        tiers: Dearer rates of long prompts, shortest first.
        model_id: The provider's own name of the model; empty if it is ``name``.
        note: What the figures do not say.
    """

    name: str
    provider: str
    input_usd_per_mtok: float
    output_usd_per_mtok: float | None
    cached_input_usd_per_mtok: float | None
    cache_write_usd_per_mtok: float | None
    batch_input_usd_per_mtok: float | None
    batch_output_usd_per_mtok: float | None
    batch_cached_input_usd_per_mtok: float | None
    batch_since: dt.date | None
    since: dt.date | None
    max_context_tokens: int | None
    source: str
    date: dt.date
    aliases: tuple[str, ...] = ()
    batch_cache_write_usd_per_mtok: float | None = None
    tiers: tuple[PriceTier, ...] = ()
    model_id: str = ""
    note: str = ""

    @property
    def is_free(self) -> bool:
        """Whether the provider takes nothing for it: a known price of zero, not an unknown one."""
        return not self.input_usd_per_mtok and not self.output_usd_per_mtok

    def rates(self, *, prompt_tokens: float, batch: bool = False) -> TokenRates | None:
        """Return the rates of a request with a prompt of that length; None if it has no batch price."""
        if batch and self.batch_input_usd_per_mtok is None:
            return None
        for tier in reversed(self.tiers):
            if prompt_tokens > tier.above_tokens:
                return tier.batch if batch else tier.standard
        if batch:
            return TokenRates(
                self.batch_input_usd_per_mtok or 0.0,
                self.batch_output_usd_per_mtok,
                self.batch_cached_input_usd_per_mtok,
                self.batch_cache_write_usd_per_mtok,
            )
        return TokenRates(
            self.input_usd_per_mtok,
            self.output_usd_per_mtok,
            self.cached_input_usd_per_mtok,
            self.cache_write_usd_per_mtok,
        )
