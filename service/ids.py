"""Ids of jobs, runs and schedules as requests give them."""

from typing import Annotated, Final

from fastapi import Path
from pydantic import Field

_PATTERN: Final = r"^[A-Za-z0-9_-]{1,64}$"
_OF_A_JOB: Final = "3f0c2a9be1f64d0f9d0f4f3a3a4b6c11"

JobId = Annotated[str, Path(pattern=_PATTERN, examples=[_OF_A_JOB])]
RunId = Annotated[str, Path(pattern=_PATTERN, examples=[_OF_A_JOB])]
FolderId = Annotated[str, Path(pattern=_PATTERN, examples=[_OF_A_JOB])]
"""What results lie under: the id of a job or of a run."""
ScheduleId = Annotated[str, Path(pattern=_PATTERN, examples=["6b0e7f2f3c0d4a5e9d7c1f0a2b3c4d5e"])]
Mark = Annotated[str, Field(pattern=_PATTERN)]
"""Id of the entry below which a page begins."""
