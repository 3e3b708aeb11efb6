"""The code in an exported folder, with which Hugging Face's transformers loads it without this package.

`reluformer export` copies these files and `corpus/moses.py`. `transformer_reluformer` needs only torch; the others
need transformers, so nothing else may import them.
"""
