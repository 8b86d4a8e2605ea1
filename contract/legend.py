"""Legends: class value -> name and colour. The only tables of classes in the project."""

from typing import Final, Self

from pydantic import Field, model_validator

from contract.record import Record


class LandCoverClass(Record):
    """One class of a legend."""

    value: int = Field(ge=1, le=255)
    """Pixel value in the land-cover raster."""
    name: str = Field(min_length=1)
    color: str = Field(pattern=r"^#[0-9a-f]{6}$")
    """Display colour, #rrggbb."""
    description: str = ""

    @property
    def rgb(self) -> tuple[int, int, int]:
        """Red, green and blue, 0..255."""
        return int(self.color[1:3], 16), int(self.color[3:5], 16), int(self.color[5:7], 16)


class Legend(Record):
    """The classes of a map, in the order of a model's output channels."""

    name: str
    classes: tuple[LandCoverClass, ...] = Field(min_length=2)
    nodata: int = Field(default=0, ge=0, le=255)
    """Pixel value where there is no answer; never the value of a class."""

    @model_validator(mode="after")
    def _values_are_distinct(self) -> Self:
        values = [entry.value for entry in self.classes]
        if len(set(values)) < len(values) or self.nodata in values:
            raise ValueError(f"legend {self.name!r}: class values {values} and nodata {self.nodata} must all differ")
        return self

    def subset(self, *values: int) -> "Legend":
        """The same legend with only the classes of these values, in the legend's order."""
        kept = tuple(entry for entry in self.classes if entry.value in values)
        return self.model_copy(update={"classes": kept})


# ESA WorldCover 2021 v200, Product User Manual V2.0, table 2 (values, names and colours).
WORLDCOVER: Final = Legend(
    name="ESA WorldCover",
    classes=(
        LandCoverClass(value=10, name="Tree cover", color="#006400"),
        LandCoverClass(value=20, name="Shrubland", color="#ffbb22"),
        LandCoverClass(value=30, name="Grassland", color="#ffff4c"),
        LandCoverClass(value=40, name="Cropland", color="#f096ff"),
        LandCoverClass(value=50, name="Built-up", color="#fa0000"),
        LandCoverClass(value=60, name="Bare / sparse vegetation", color="#b4b4b4"),
        LandCoverClass(value=70, name="Snow and ice", color="#f0f0f0"),
        LandCoverClass(value=80, name="Permanent water bodies", color="#0064c8"),
        LandCoverClass(value=90, name="Herbaceous wetland", color="#0096a0"),
        LandCoverClass(value=95, name="Mangroves", color="#00cf75"),
        LandCoverClass(value=100, name="Moss and lichen", color="#fae6a0"),
    ),
)
