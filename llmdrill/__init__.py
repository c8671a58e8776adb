"""LLM system-design drills whose numbers are computed in the open and confronted with a real run."""

__version__ = "0.1.0"
