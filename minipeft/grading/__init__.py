"""Exercises with feedback: instant checks in the notebook, and grading from outside a sandbox."""

from .checks import NotYet, checks

__all__ = ["NotYet", "checks"]
