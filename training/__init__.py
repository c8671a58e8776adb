"""Training of the embedded models: data, tokenizer, decoder, evaluation. See README.md."""
