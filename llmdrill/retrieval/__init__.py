"""Chunk, search, fuse and score: retrieval measured on labelled corpora, with numpy alone."""
