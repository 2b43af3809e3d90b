"""A task with values in place of our own functions, so that these run once for many answers.

`judge` asks the reference, each known mistake and each trivial answer anew for every answer that is
wrong; what they say depends on the cases alone.
"""

import functools
from dataclasses import replace

from minipeft.grading.arguments import parameters
from minipeft.grading.compare import expected
from minipeft.grading.exercises import exercise
from minipeft.grading.tasks import Cases, Recorded, Task


@functools.lru_cache(maxsize=8)
def worked_out(number: str, name: str, seed: int, student: str) -> tuple[Task, Cases]:
    """A task of an exercise to judge by, and its cases for this seed and student."""
    asked = exercise(number)
    task = asked.task(name)
    cases = task.inputs(seed, asked.sheet_for(student))

    def values(answer):
        return Recorded(expected(task, answer, cases), parameters(task.answer))

    wrong = [replace(one, answer=values(one.answer)) for one in task.misconceptions]
    trivial = [values(answer) for answer in task.trivial]
    return replace(task, answer=values(task.answer), misconceptions=wrong, trivial=trivial), cases
