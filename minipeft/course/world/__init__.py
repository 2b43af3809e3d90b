"""The small world that the base model knows: its facts, its texts, and what they are made of."""

from .facts import KINDS, Person, World

__all__ = ["KINDS", "Person", "World"]
