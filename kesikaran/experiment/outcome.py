"""What comes of a job."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kesikaran.tracking.queries import Record


@dataclass(frozen=True)
class Verdict:
    """objective: the validation metric that `fit.monitor` stands for; NaN where it is not known yet. passed: the gate,
    if there is one, lets the run through. elsewhere: the run of another process that is at work on this job. words: the
    metric of the verdict on validation, for the line of a job."""

    objective: float
    passed: bool
    elsewhere: "Record | None" = None
    words: str = ""
