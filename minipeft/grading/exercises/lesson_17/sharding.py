"""Task 2: which rows a process holds, as torch.chunk cuts them, and a reduce-scatter."""

from functools import partial

import numpy as np

from ...tasks import Cases, Misconception, Task, by_case
from .asked import parts_seen, range_seen
from .averaging import normal


def rows_cases(generator: np.random.Generator) -> Cases:
    """Rows that divide; that do not; too few rows, where some processes hold none."""
    found = []
    processes = int(generator.integers(3, 6))
    even = processes * int(generator.integers(3, 2000))
    found += [[even, number, processes] for number in (1, processes - 1)]
    uneven = even + 1  # one row over: all but the last hold one more than the quotient
    found += [[uneven, number, processes] for number in (0, 1, processes - 1)]
    few, many = 5, 8  # one row each, and nothing for the last three
    found += [[few, number, many] for number in (2, 6, 7)]
    found.append([6, 3, 4])  # two rows each, so that the last of four holds nothing
    return found


def shard_rows(rows, number, processes):
    """(first, end): chunks of ceil(rows / processes) rows, as long as there are any."""
    size = -(-rows // processes)
    return min(number * size, rows), min((number + 1) * size, rows)


def rounded_down(rows, number, processes):
    """Chunks of floor(rows / processes): the rows that are left over belong to nobody."""
    size = rows // processes
    return number * size, (number + 1) * size


def rest_to_the_last(rows, number, processes):
    """Chunks rounded down, and what is left over goes to the last process."""
    first, end = rounded_down(rows, number, processes)
    return first, rows if number == processes - 1 else end


def spread_evenly(rows, number, processes):
    """As numpy.array_split: the first processes get one row more."""
    size, over = divmod(rows, processes)
    first = number * size + min(number, over)
    return first, first + size + (number < over)


def beyond_the_end(rows, number, processes):
    """Chunks rounded up, without a look at where the rows end."""
    size = -(-rows // processes)
    return number * size, (number + 1) * size


def every_pth(rows, number, processes):
    """The number of a process and how many rows it has, dealt like cards."""
    return number, number + len(range(number, rows, processes))


EVEN, UNEVEN, FEW = "rows that divide", "rows that do not divide", "fewer rows than chunks"

ROWS = Task(
    name="shard_rows",
    title="2a. Whose rows?",
    points=2,
    cases=rows_cases,
    answer=shard_rows,
    observe=range_seen,
    parts=by_case(EVEN, EVEN, UNEVEN, UNEVEN, UNEVEN, FEW, FEW, FEW, FEW),
    misconceptions=[
        Misconception(
            rounded_down,
            "You round the size of a chunk down, so the rows that are left over belong to "
            "nobody. Round up.",
        ),
        Misconception(
            rest_to_the_last,
            "You round down and give what is left over to the last process. torch.chunk rounds "
            "up, so the last process has the fewest rows.",
        ),
        Misconception(
            spread_evenly,
            "You spread the rows as evenly as possible, as numpy.array_split does. torch.chunk "
            "makes all chunks of one size, rounded up, as long as there are rows.",
        ),
        Misconception(
            beyond_the_end,
            "Some of your ranges go beyond the last row. The last chunks are shorter, or empty.",
        ),
        Misconception(
            every_pth,
            "You deal rows out one by one. A shard is one block of neighbouring rows.",
        ),
        Misconception(
            lambda rows, number, processes: (
                shard_rows(rows, number, processes)[0],
                shard_rows(rows, number, processes)[1] - 1,
            ),
            "Your end is the last row itself. Asked for is the row after it, as in a slice.",
        ),
        Misconception(
            lambda *given: tuple(float(n) for n in shard_rows(*given)),
            "The rows are right, but they are floats. Rows are counted in ints.",
        ),
    ],
    why="All chunks but the last ones have ceil(rows / p) rows, so a process can work out where "
    "its shard lies without asking. An odd number of rows leaves some with less, or nothing.",
)


def scatter_cases(generator: np.random.Generator) -> Cases:
    """Two processes, then four, then three with a chunk that is shorter."""
    found = []
    for processes, length in ((2, 6), (4, 8), (3, 8)):
        found.append([normal(generator, processes, length)])
    return found


def reduce_scatter(gradients, total=lambda stacked: stacked.mean(axis=0)):
    """Process i's part of the mean; the mistakes reduce otherwise."""
    whole = total(np.float64(gradients))
    processes = len(gradients)
    return [whole[slice(*shard_rows(len(whole), i, processes))] for i in range(processes)]


def own_parts(gradients):
    """Process i's part of its own gradient: nothing travelled."""
    ends = [shard_rows(len(gradients[0]), i, len(gradients)) for i in range(len(gradients))]
    return [np.float64(g)[slice(*e)] for g, e in zip(gradients, ends, strict=True)]


def all_reduced(gradients):
    """The whole mean, for everyone."""
    return [np.float64(gradients).mean(axis=0) for _ in gradients]


REDUCE_SCATTER = Task(
    name="reduce_scatter",
    title="2b. Reduce and scatter",
    points=3,
    cases=scatter_cases,
    answer=lambda gradients: reduce_scatter(gradients),
    observe=parts_seen,
    parts=by_case("two processes", "four processes", "a shorter chunk"),
    misconceptions=[
        Misconception(
            partial(reduce_scatter, total=lambda stacked: stacked.sum(axis=0)),
            "These are parts of the sum. FSDP2 takes the mean: divide by the number of processes.",
        ),
        Misconception(
            all_reduced,
            "Everyone gets the whole mean: that is an all-reduce. After a reduce-scatter each "
            "process holds the part that belongs to its own shard.",
        ),
        Misconception(
            own_parts,
            "Each process keeps a part of its own gradient, and nothing was averaged.",
        ),
        Misconception(
            lambda gradients: reduce_scatter(gradients)[::-1],
            "The parts are right, but go to the wrong processes: process 0 holds the first rows.",
        ),
        Misconception(
            partial(reduce_scatter, total=lambda stacked: stacked[0]),
            "Everyone gets a part of process 0's gradient: that is a scatter, without a reduce.",
        ),
    ],
    why="Each process needs the gradient of its own shard alone, so the mean is cut up where it "
    "is made: half of what an all-reduce sends. The other half would be the all-gather.",
)
