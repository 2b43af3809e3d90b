"""Budgets: what a method trains and what that takes, worked out before anything is built.

count_parameters("llama-7b", LoraConfig(r=8, target_modules=["q_proj", "v_proj"])).trainable
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
