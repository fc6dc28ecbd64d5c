"""Pictures and sound fused into a language model: prompts, splicing, batched generation, training.

Nothing is imported here: the modules need torch, which the light install does not have.
"""
