"""Architectures out of Hugging Face config.json files."""
