"""A language model that answers many at once: sequences, prefill, decoding, KV cache, sampling, grammars, streams.

Nothing is imported here: the modules need torch, which the light install does not have.
"""
