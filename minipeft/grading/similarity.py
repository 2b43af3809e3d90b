"""Which submissions look alike: fingerprints of their code, compared pair by pair.

A fingerprint is the set of hashes of every run of K tokens, names and numbers included, comments,
layout and docstrings left out: winnowing (Schleimer, Wilkerson and Aiken 2003, section 3) with a
window of one, as answers are short. What many have in common (the exercise's own lines, the answer
that suggests itself) says nothing, so only runs that few submissions hold are counted.

What it cannot see: names that were changed throughout, and work that was copied with understanding.
What it cannot know: who copied from whom, or whether two were allowed to work together. It is a
reason to look, never a proof.
"""

import hashlib
import io
import token
import tokenize
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations

K = 9  # tokens in a run
MOST_PRINTS = 4_000  # of one submission
RARE = 3  # submissions that may share a run before it says nothing
ENOUGH = 12  # rare runs that two must share to be told
SHARE = 0.5  # of the smaller one's rare runs
_LAYOUT = {
    token.NEWLINE,
    token.INDENT,
    token.DEDENT,
    tokenize.NL,
    tokenize.COMMENT,
    token.ENDMARKER,
}


@dataclass(frozen=True)
class Pair:
    """Two students whose code shares what few others have."""

    first: str
    second: str
    shared: int  # rare runs in both
    share: float  # of the smaller one's rare runs


def prints(sources: Iterable[str]) -> list[int]:
    """The fingerprints of some cells."""
    found: set[int] = set()
    for source in sources:
        words = _words(source)
        for place in range(len(words) - K + 1):
            text = "\x00".join(words[place : place + K]).encode("utf-8", "replace")
            found.add(int.from_bytes(hashlib.blake2b(text, digest_size=6).digest()))
    return sorted(found)[:MOST_PRINTS]


def _words(source: str) -> list[str]:
    words: list[str] = []
    try:
        for kind, text, *_ in tokenize.generate_tokens(io.StringIO(source).readline):
            is_docstring = kind == token.STRING and words[-1:] in ([":"], [])
            if kind not in _LAYOUT and not is_docstring:
                words.append(text)
    except (tokenize.TokenError, SyntaxError, ValueError):
        pass  # what cannot be read to the end is compared as far as it goes
    return words


def alike(prints_of: Mapping[str, Iterable[int]], known: Iterable[int] = ()) -> list[Pair]:
    """The pairs that share much of what few have; the most alike come first.

    `known` are fingerprints that do not count, those of the exercise as it was given out.
    """
    ignored = set(known)
    sets = {student: set(found) - ignored for student, found in prints_of.items()}
    holders = Counter(run for found in sets.values() for run in found)
    rare = {s: {run for run in found if holders[run] <= RARE} for s, found in sets.items()}
    pairs = []
    for first, second in combinations(sorted(rare), 2):
        shared = len(rare[first] & rare[second])
        smaller = min(len(rare[first]), len(rare[second]))
        if shared >= ENOUGH and shared >= SHARE * smaller:
            pairs.append(Pair(first, second, shared, shared / smaller))
    return sorted(pairs, key=lambda pair: (-pair.share, -pair.shared, pair.first, pair.second))
