"""Late days and what they cost."""

import math
from dataclasses import dataclass
from datetime import UTC, datetime

DAY = 24 * 60 * 60


@dataclass(frozen=True)
class Rule:
    """When the work was due, how many days late cost nothing, and what each further day costs."""

    due: datetime | None = None
    free_days: int = 0
    percent: float = 0.0  # of the points earned, for each further day that was begun

    def days(self, timestamp: str) -> int:
        """How many days after the due date were begun when it was handed in."""
        if self.due is None or not timestamp:
            return 0
        seconds = (moment(timestamp) - naive(self.due)).total_seconds()
        return max(0, math.ceil(seconds / DAY))

    def penalty(self, points: float, days: float) -> float:
        """The points that so many days late cost."""
        share = min(1.0, max(0.0, days - self.free_days) * self.percent / 100)
        return round(points * share, 2)


def moment(text: str) -> datetime:
    """The moment that a text names, in UTC where it names a zone. Raises ValueError."""
    return naive(datetime.fromisoformat(text))


def naive(when: datetime) -> datetime:
    """The same without a zone, in UTC."""
    return when if when.tzinfo is None else when.astimezone(UTC).replace(tzinfo=None)
