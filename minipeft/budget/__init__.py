"""Budgets: what a method trains and what that takes, worked out before anything is built.

count_parameters("llama-7b", config).trainable, memory_budget("llama-7b", config).table()
"""

from minipeft.budget.count import ParameterCount, count_parameters
from minipeft.budget.memory import MemoryBudget, memory_budget
from minipeft.shapes.architectures import Architecture
from minipeft.shapes.published import ARCHITECTURES

__all__ = [
    "ARCHITECTURES",
    "Architecture",
    "MemoryBudget",
    "ParameterCount",
    "count_parameters",
    "memory_budget",
]
