"""``python -m llmdrill``."""

from llmdrill.cli import main

main()
