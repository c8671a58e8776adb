"""Turn files into plain text, one module per format; structure that is kept is written as Markdown."""
