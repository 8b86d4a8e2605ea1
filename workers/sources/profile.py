"""How the items of a source are to be read: where they are, and which asset is which band."""

import tomllib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Final, Literal, Self

from pydantic import Field, ValidationError, model_validator

from contract.bands import BANDS, SCL, Modality, Unit
from contract.errors import SourceUnusable
from contract.record import Record
from workers.sources.hrefs import is_url

BUILT_IN: Final = ("planetary-computer", "earth-search")
"""Names of the profiles that lie beside this module."""


class SensorProfile(Record):
    """One sensor of a source."""

    collections: tuple[str, ...] = Field(min_length=1)
    assets: dict[str, str]
    """Band, as B02, SCL or VV: the item's asset key."""


class RadarProfile(SensorProfile):
    """Terrain-corrected backscatter."""

    unit: Literal[Unit.LINEAR_POWER, Unit.DECIBEL] = Unit.LINEAR_POWER
    """Of a value after the scale and offset that the item may give."""


class Profile(Record):
    """How the items of a source are to be read."""

    catalogue: str
    """URL of a STAC API, or URL or absolute path of a static catalogue."""
    signing: Literal["planetary-computer"] | None = None
    s2: SensorProfile | None = None
    s1: RadarProfile | None = None
    absent: dict[Modality, str] = Field(default_factory=dict)
    """Why a sensor is not offered, for the error."""

    @model_validator(mode="after")
    def _bands_belong(self) -> Self:
        for modality in Modality:
            sensor = getattr(self, modality.value)
            known = {name for name, band in BANDS.items() if band.modality is modality}
            if sensor and (strange := set(sensor.assets) - known - ({SCL} if modality is Modality.S2 else set())):
                raise ValueError(f"{', '.join(sorted(strange))}: no band of {modality.label}; known: {sorted(known)}")
        return self

    def sensor(self, modality: Modality, bands: Sequence[str], source: str) -> SensorProfile:
        """How to read these bands of one sensor.

        Raises:
            SourceUnusable: The source does not have it, or not all of the bands.
        """
        sensor = self.s2 if modality is Modality.S2 else self.s1
        if sensor is None:
            why = self.absent.get(modality, f"its profile has no {modality.label}")
            other = Modality.S1 if modality is Modality.S2 else Modality.S2
            raise SourceUnusable(source, f"{why}. Ask for {other.value} alone, or another source")
        absent = [band for band in bands if band not in sensor.assets]
        if absent:
            needed = f"its profile names no asset for {', '.join(absent)}, which the bundle needs"
            raise SourceUnusable(source, f"{needed}. Add it to a profile, or choose another source or bundle")
        return sensor


def profile_of(source: str) -> Profile:
    """The profile that a source names, is, or is taken to follow.

    Raises:
        SourceUnusable: There is no such name or file, or the profile has mistakes.
    """
    if source in BUILT_IN:
        return _built_in(source)
    if source.endswith(".toml"):
        return _from_file(source)
    if not is_url(source) and not Path(source).is_file():
        raise SourceUnusable(source, f"it is no file, no URL and none of {', '.join(BUILT_IN)}")
    for name in BUILT_IN:
        if source.rstrip("/") == _built_in(name).catalogue:
            return _built_in(name)
    return _built_in("planetary-computer").model_copy(update={"catalogue": source, "signing": None})


def _built_in(name: str) -> Profile:
    text = files("workers.sources").joinpath(f"{name}.toml").read_text(encoding="utf-8")
    return Profile.model_validate(tomllib.loads(text))


def _from_file(source: str) -> Profile:
    try:
        profile = Profile.model_validate(tomllib.loads(Path(source).read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SourceUnusable(source, f"the profile cannot be read: {error}") from error
    except ValidationError as error:
        raise SourceUnusable(source, f"the profile has mistakes: {mistakes(error)}") from error
    if is_url(profile.catalogue):
        return profile
    return profile.model_copy(update={"catalogue": str(Path(source).parent / profile.catalogue)})


def mistakes(error: ValidationError) -> str:
    """What a record refuses, on one line."""
    return "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
