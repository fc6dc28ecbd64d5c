"""Sound in a language model: the frames of a speech encoder, stacked and projected into embeddings.

Nothing is imported here: the modules need torch, which the light install does not have.
"""
