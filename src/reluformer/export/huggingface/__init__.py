"""The code in an exported folder, by which Hugging Face's transformers loads it without this package.

`reluformer export` copies these files, and `corpus/moses.py` beside them. `transformer_reluformer` needs torch alone;
the others need transformers, so nothing else may import them.
"""
