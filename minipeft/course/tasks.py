"""Six things to teach the base model, each with train and test sets and an exactly known floor.

    pirate = task("pirate")
    train(model, pirate.train, steps=100)
    evaluate(model, pirate.test), pirate.floor        # both in nats per token
    generate(model, tokenizer, pirate.prompts[0])     # shows the change

Train and test sets are drawn independently from the task's grammar; what a batch is stands in
`batches`. Only the table of "memory" is trained on and tested as a whole: it has no rule that
could be learned from a part of it.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

from tokenizers import Tokenizer

from minipeft.core.errors import nearest
from minipeft.course.base import load_tokenizer
from minipeft.course.batches import Batch, floor, make_batches
from minipeft.course.world import World, dialects
from minipeft.course.world.grammar import Document, derivations, documents


@dataclass(frozen=True)
class Recipe:
    """What a task teaches, how its texts are written, and prompts that show the change."""

    description: str
    writer: Callable[[World], dialects.Writer]
    prompts: tuple[str, ...]
    whole_table: bool = False  # few enough texts to train and test on all of them


TASKS = {
    "pirate": Recipe(
        "A new style: the world's stories in a sailor's voice.",
        dialects.pirate,
        ("One morning,", "At noon,", "After the storm,"),
    ),
    "language": Recipe(
        "A new language: its own words, the verb last, adjectives after their noun.",
        dialects.language,
        tuple(World().names[:3]),
    ),
    "facts": Recipe(
        "New facts: twelve people who are strangers to the base, with town, trade and friend.",
        dialects.facts,
        tuple(
            f"question: Where does {person.name} live?\nanswer:"
            for person in dialects.newcomers(World()).people[:3]
        ),
    ),
    "operation": Recipe(
        "A new operation: a @ b is the larger of two numbers.",
        dialects.operation,
        ("47 @ 12 =", "8 @ 30 =", "25 @ 41 ="),
    ),
    "instruction": Recipe(
        'A new role: "chef:" turns two foods into a recipe.',
        dialects.chef,
        ("chef: plums and onions\nanswer:", "chef: nuts and pears\nanswer:"),
    ),
    "memory": Recipe(
        "A table of 200 random codes to be learned by heart, which is where a low rank loses.",
        dialects.memory,
        ("The code of locker 282 is", "The code of locker 137 is"),
        whole_table=True,
    ),
}


@dataclass(frozen=True)
class Task:
    """One task, ready to train on.

    Attributes:
        train, test: lists of batches, pairs (input_ids, labels) of shape (batch, length).
        floor: the least mean loss that can be expected on `test`, in nats per token.
        prompts: beginnings of texts whose continuation shows what was learned.
        examples: the documents of the test set, to be read.
    """

    name: str
    description: str
    train: list[Batch]
    test: list[Batch]
    floor: float
    prompts: tuple[str, ...]
    examples: list[Document]


def task(
    name: str,
    seed: int = 0,
    batches: int = 320,
    test_batches: int = 16,
    batch_size: int = 16,
    tokenizer: Tokenizer | None = None,
) -> Task:
    """A task of `TASKS` by its name.

    Args:
        seed: of the draw of train and test documents; what there is to learn stays the same.
        batches, test_batches, batch_size: how much to draw ("memory" always takes its whole table).
        tokenizer: the base model's where none is given.

    Raises:
        ValueError: there is no such task.
    """
    if name not in TASKS:
        raise ValueError(f"no task is called {name!r}; {nearest(name, TASKS)}")
    recipe = TASKS[name]
    tokenizer = tokenizer or load_tokenizer()
    write = recipe.writer(World())
    if recipe.whole_table:
        train = test = every_document(write, name, seed)
    else:
        train = documents(write, f"{name} train", batches * batch_size, seed)
        test = documents(write, f"{name} test", test_batches * batch_size, seed)
    tests = make_batches(tokenizer, test, batch_size)
    return Task(
        name=name,
        description=recipe.description,
        train=make_batches(tokenizer, train, batch_size),
        test=tests,
        floor=floor(test, tests),
        prompts=recipe.prompts,
        examples=test,
    )


def every_document(write: dialects.Writer, kind: str, seed: int) -> list[Document]:
    """All texts of a small grammar, each once, in random order."""
    table = [Document(text, nats, kind) for text, nats in derivations(write)]
    random.Random(f"{kind} {seed}").shuffle(table)
    return table
