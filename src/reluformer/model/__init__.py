"""The Transformer, made of memories."""
