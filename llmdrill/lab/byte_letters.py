"""The alphabet of byte-level tokenizers: a letter for every byte, so that tokens can be written as text."""

from __future__ import annotations


def byte_of_letter() -> dict[str, int]:
    """Return the byte that each letter of a byte-level tokenizer stands for: printable ones for themselves.

    Source:
        openai/gpt-2, src/encoder.py, bytes_to_unicode.

    >>> byte_of_letter()["A"], byte_of_letter()["Ġ"]
    (65, 32)
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + at): byte for at, byte in enumerate(others)}
