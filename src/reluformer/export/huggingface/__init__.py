"""The code that an exported folder carries, so that Hugging Face's transformers loads it.

`reluformer.export.flatten` writes each module here as one file that needs nothing of this package. Only there is
transformers at hand: nothing else may import these modules.
"""
