"""The holes: a task of the course, a bound to reach, and par.

Par is what the course's own LoRA trains: rank 8 on all linear layers, 108,544 numbers. Each halving
of that number is one stroke under par: a birdie is one under par, an eagle two.
"""

import math
from dataclasses import dataclass

from minipeft.course.base import load_tokenizer
from minipeft.course.batches import Batch, floor, make_batches
from minipeft.course.tasks import TASKS
from minipeft.course.world import World
from minipeft.course.world.grammar import documents

PAR = 108_544
TEXTS = 256  # that an entry is measured on


@dataclass(frozen=True)
class Hole:
    """What is asked of an entry.

    task: one of `tasks.TASKS`. bound: nats above the task's floor that must be reached.
    par: trained numbers of the course's own LoRA.
    """

    name: str
    task: str
    bound: float
    par: int = PAR

    def under_par(self, numbers: int) -> int:
        """How often par can be halved before it is below `numbers`; negative above par."""
        return math.floor(math.log2(self.par / numbers))

    def texts(self, seed: int, n: int = TEXTS) -> tuple[list[Batch], float]:
        """Texts that no training set holds the draw of: batches, and their floor in nats."""
        drawn = documents(TASKS[self.task].writer(World()), f"{self.task} golf", n, seed)
        batches = make_batches(load_tokenizer(), drawn, batch_size=16)
        return batches, floor(drawn, batches)


HOLES = {
    hole.name: hole
    for hole in (
        Hole("chef", "instruction", bound=0.3),
        Hole("sailor", "pirate", bound=0.3),
        Hole("larger", "operation", bound=0.3),
    )
}
