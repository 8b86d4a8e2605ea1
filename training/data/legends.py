"""LabelTable: the codes of a label source as values of a legend; and the legends that only archives have."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from contract.errors import SampleInvalid
from contract.legend import WORLDCOVER, LandCoverClass, Legend
from training.data.rasters import Raster
from training.data.sample import NO_LABEL

NO_CLASS: Final = -1
"""Class index where there is no label, or one that a legend has not."""


def class_indices(labels: npt.NDArray[np.uint8], legend: Legend) -> npt.NDArray[np.int64]:
    """Indices of a legend's classes for a label map, `NO_CLASS` where there is none."""
    table = np.full(256, NO_CLASS, np.int64)
    table[[entry.value for entry in legend.classes]] = np.arange(len(legend.classes))
    return table[labels]


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelTable:
    """What each code of a label source means in a legend."""

    source: str
    """The nomenclature of the codes."""
    legend: Legend
    values: Mapping[int, int]
    """Every code of the nomenclature -> a value of the legend, or `NO_LABEL`."""

    def __post_init__(self) -> None:
        """Refuse values that the legend does not have."""
        known = {NO_LABEL, *(entry.value for entry in self.legend.classes)}
        strange = sorted({*self.values.values()} - known)
        if strange:
            raise ValueError(f"{self.source}: {strange} are no values of {self.legend.name}")

    def labels(self, raster: Raster) -> npt.NDArray[np.uint8]:
        """(rows, columns) legend values of the raster's first band; `NO_LABEL` where it is not valid.

        Raises:
            SampleInvalid: There are codes that the nomenclature does not have.
        """
        labels = np.full(raster.valid.shape, NO_LABEL, np.uint8)
        codes, places = np.unique(raster.values[0][raster.valid], return_inverse=True)
        unknown = [code for code in codes.tolist() if code not in self.values]
        if unknown:
            raise SampleInvalid(str(raster.path), f"label codes {unknown[:5]}", f"codes of {self.source}")
        labels[raster.valid] = np.array([self.values[code] for code in codes.tolist()], np.uint8)[places]
        return labels


# Sumbul et al. 2021, "BigEarthNet-MM" (arXiv:2105.07921). Colours are CLC's official ones, mostly of the first class merged.
BIGEARTHNET19: Final = Legend(
    name="BigEarthNet-19",
    classes=(
        LandCoverClass(value=1, name="Urban fabric", color="#e6004d"),
        LandCoverClass(value=2, name="Industrial or commercial units", color="#cc4df2"),
        LandCoverClass(value=3, name="Arable land", color="#ffffa8"),
        LandCoverClass(value=4, name="Permanent crops", color="#e68000"),
        LandCoverClass(value=5, name="Pastures", color="#e6e64d"),
        LandCoverClass(value=6, name="Complex cultivation patterns", color="#ffe64d"),
        LandCoverClass(
            value=7,
            name="Land principally occupied by agriculture, with significant areas of natural vegetation",
            color="#e6cc4d",
        ),
        LandCoverClass(value=8, name="Agro-forestry areas", color="#f2cca6"),
        LandCoverClass(value=9, name="Broad-leaved forest", color="#80ff00"),
        LandCoverClass(value=10, name="Coniferous forest", color="#00a600"),
        LandCoverClass(value=11, name="Mixed forest", color="#4dff00"),
        LandCoverClass(value=12, name="Natural grassland and sparsely vegetated areas", color="#ccf24d"),
        LandCoverClass(value=13, name="Moors, heathland and sclerophyllous vegetation", color="#a6ff80"),
        LandCoverClass(value=14, name="Transitional woodland, shrub", color="#a6f200"),
        LandCoverClass(value=15, name="Beaches, dunes, sands", color="#e6e6e6"),
        LandCoverClass(value=16, name="Inland wetlands", color="#a6a6ff"),
        LandCoverClass(value=17, name="Coastal wetlands", color="#ccccff"),
        LandCoverClass(value=18, name="Inland waters", color="#80f2e6"),
        LandCoverClass(value=19, name="Marine waters", color="#e6f2ff"),
    ),
)

# The simplified IGBP scheme of the IEEE GRSS data fusion contest 2020 (doi:10.21227/rha7-m332).
DFC2020: Final = Legend(
    name="DFC2020",
    classes=(
        LandCoverClass(value=1, name="Forest", color="#009900"),
        LandCoverClass(value=2, name="Shrubland", color="#c6b044"),
        LandCoverClass(value=3, name="Savanna", color="#fbff13"),
        LandCoverClass(value=4, name="Grassland", color="#b6ff05"),
        LandCoverClass(value=5, name="Wetlands", color="#27ff87"),
        LandCoverClass(value=6, name="Croplands", color="#c24f44"),
        LandCoverClass(value=7, name="Urban / built-up", color="#a5a5a5"),
        LandCoverClass(value=8, name="Snow / ice", color="#69fff8"),
        LandCoverClass(value=9, name="Barren", color="#f9ffa4"),
        LandCoverClass(value=10, name="Water", color="#1c0dff"),
    ),
)

# Code -> WorldCover, BigEarthNet-19.
# Codes and names: Kosztra et al. 2019, "Updated CLC illustrated nomenclature guidelines" (EEA).
# WorldCover: the class definitions of its Product User Manual V2.0, by which perennial woody crops are trees or shrubs,
# pastures are grassland, and 10 % of woody cover is enough; uses that have no single cover are unlabelled.
# BigEarthNet-19: the published merging (arXiv:2105.07921).
_CORINE: Final = {
    111: (50, 1),  # continuous urban fabric
    112: (50, 1),  # discontinuous urban fabric
    121: (50, 2),  # industrial or commercial units
    122: (50, NO_LABEL),  # road and rail networks and associated land
    123: (50, NO_LABEL),  # port areas
    124: (50, NO_LABEL),  # airports
    131: (60, NO_LABEL),  # mineral extraction sites
    132: (60, NO_LABEL),  # dump sites
    133: (60, NO_LABEL),  # construction sites
    141: (NO_LABEL, NO_LABEL),  # green urban areas
    142: (NO_LABEL, NO_LABEL),  # sport and leisure facilities
    211: (40, 3),  # non-irrigated arable land
    212: (40, 3),  # permanently irrigated land
    213: (40, 3),  # rice fields
    221: (20, 4),  # vineyards
    222: (10, 4),  # fruit trees and berry plantations
    223: (10, 4),  # olive groves
    231: (30, 5),  # pastures
    241: (40, 4),  # annual crops associated with permanent crops
    242: (40, 6),  # complex cultivation patterns
    243: (40, 7),  # agriculture with significant areas of natural vegetation
    244: (10, 8),  # agro-forestry areas
    311: (10, 9),  # broad-leaved forest
    312: (10, 10),  # coniferous forest
    313: (10, 11),  # mixed forest
    321: (30, 12),  # natural grassland
    322: (20, 13),  # moors and heathland
    323: (20, 13),  # sclerophyllous vegetation
    324: (20, 14),  # transitional woodland and shrub
    331: (60, 15),  # beaches, dunes, sands
    332: (60, NO_LABEL),  # bare rock
    333: (60, 12),  # sparsely vegetated areas
    334: (NO_LABEL, NO_LABEL),  # burnt areas
    335: (70, NO_LABEL),  # glaciers and perpetual snow
    411: (90, 16),  # inland marshes
    412: (90, 16),  # peat bogs
    421: (90, 17),  # salt marshes
    422: (NO_LABEL, 17),  # salines
    423: (60, NO_LABEL),  # intertidal flats
    511: (80, 18),  # water courses
    512: (80, 18),  # water bodies
    521: (80, 19),  # coastal lagoons
    522: (80, 19),  # estuaries
    523: (80, 19),  # sea and ocean
    0: (NO_LABEL, NO_LABEL),  # no data
    990: (NO_LABEL, NO_LABEL),  # unclassified land
    995: (NO_LABEL, NO_LABEL),  # unclassified water
    999: (NO_LABEL, NO_LABEL),  # no data; outside of the inventory in BigEarthNet's reference maps
}

CORINE_TO_WORLDCOVER: Final = LabelTable(
    source="CORINE Land Cover 2018, level 3",
    legend=WORLDCOVER,
    values={code: worldcover for code, (worldcover, _) in _CORINE.items()},
)
CORINE_TO_BIGEARTHNET19: Final = LabelTable(
    source="CORINE Land Cover 2018, level 3",
    legend=BIGEARTHNET19,
    values={code: merged for code, (_, merged) in _CORINE.items()},
)

# Code -> WorldCover, DFC2020.
# Codes: MODIS MCD12Q1 User Guide, Collection 6 (Sulla-Menashe & Friedl 2018), table 3. WorldCover by that table's
# definitions: woody savannas have 30-60 % tree cover, open shrublands 10-60 % shrubs; savannas (trees 10-30 % over grass) and
# cropland mosaics are mixed within their 500 m. DFC2020: the contest's merging (doi:10.21227/rha7-m332).
_IGBP: Final = {
    1: (10, 1),  # evergreen needleleaf forests
    2: (10, 1),  # evergreen broadleaf forests
    3: (10, 1),  # deciduous needleleaf forests
    4: (10, 1),  # deciduous broadleaf forests
    5: (10, 1),  # mixed forests
    6: (20, 2),  # closed shrublands
    7: (20, 2),  # open shrublands
    8: (10, 3),  # woody savannas
    9: (NO_LABEL, 3),  # savannas
    10: (30, 4),  # grasslands
    11: (90, 5),  # permanent wetlands
    12: (40, 6),  # croplands
    13: (50, 7),  # urban and built-up lands
    14: (NO_LABEL, 6),  # cropland and natural vegetation mosaics
    15: (70, 8),  # permanent snow and ice
    16: (60, 9),  # barren
    17: (80, 10),  # water bodies
    0: (NO_LABEL, NO_LABEL),  # no data in files cut from the product
    255: (NO_LABEL, NO_LABEL),  # unclassified
}

IGBP_TO_WORLDCOVER: Final = LabelTable(
    source="IGBP, as in MCD12Q1 Collection 6",
    legend=WORLDCOVER,
    values={code: worldcover for code, (worldcover, _) in _IGBP.items()},
)
IGBP_TO_DFC2020: Final = LabelTable(
    source="IGBP, as in MCD12Q1 Collection 6",
    legend=DFC2020,
    values={code: simplified for code, (_, simplified) in _IGBP.items()},
)

# Savanna merges IGBP 8 and 9, so it may be trees or grass.
DFC2020_TO_WORLDCOVER: Final = LabelTable(
    source="DFC2020",
    legend=WORLDCOVER,
    values={
        0: NO_LABEL, 1: 10, 2: 20, 3: NO_LABEL, 4: 30, 5: 90, 6: 40, 7: 50, 8: 70, 9: 60, 10: 80, 255: NO_LABEL,
    },
)  # fmt: skip

# Karra et al. 2021, "Global land use / land cover with Sentinel 2 and deep learning" (Esri), renumbered from 1 as TerraMesh
# has it (arXiv:2504.11172): 1 water, 2 trees, 3 flooded vegetation, 4 crops, 5 built area, 6 bare ground, 7 snow and ice,
# 8 clouds, 9 rangeland, which mixes grass and shrub.
ESRI_TO_WORLDCOVER: Final = LabelTable(
    source="Esri land use / land cover, numbered 1 to 9",
    legend=WORLDCOVER,
    values={0: NO_LABEL, 1: 80, 2: 10, 3: 90, 4: 40, 5: 50, 6: 60, 7: 70, 8: NO_LABEL, 9: NO_LABEL},
)
