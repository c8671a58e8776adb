"""What the catalogue's files hold, frozen. Unknown is None; every record says where it was read and when.

Each kind has a module of its own: to make all the classes takes a calculator longer than to calculate.
"""

from __future__ import annotations

from llmdrill.catalog.accelerator import Accelerator, Rental
from llmdrill.catalog.api_latency import ApiLatency
from llmdrill.catalog.architecture import AttentionShape, Experts, LayerGroup, ModelRecord
from llmdrill.catalog.price import Price, PriceTier, TokenRates
from llmdrill.catalog.serving_constants import Band, ServingConstants

__all__ = [
    "Accelerator",
    "ApiLatency",
    "AttentionShape",
    "Band",
    "Experts",
    "LayerGroup",
    "ModelRecord",
    "Price",
    "PriceTier",
    "Rental",
    "ServingConstants",
    "TokenRates",
]
