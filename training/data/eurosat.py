"""EuroSAT: Sentinel-2 images of one class each."""

from pathlib import Path
from typing import Final

from contract.errors import ArchiveInvalid
from training.data.sample import BandChoice, Entry
from training.data.stacks import LEVEL_1C_BANDS, Stack, StackArchive, StackLayout, footprint_of, place_of

CLASSES: Final = (
    "AnnualCrop",
    "Forest",
    "HerbaceousVegetation",
    "Highway",
    "Industrial",
    "Pasture",
    "PermanentCrop",
    "Residential",
    "River",
    "SeaLake",
)
# Unlike the mission's order and the paper's, B8A comes last: https://github.com/phelber/EuroSAT/issues/7. In the
# files, the ninth band is dark and coarse as water vapour (B09) is, the tenth nearly black as cirrus (B10), the last
# one bright as B8A.
LAYOUT: Final = StackLayout(s2_bands=(*(name for name in LEVEL_1C_BANDS if name != "B8A"), "B8A"))

_KIND: Final = "EuroSAT-MS"


class EuroSAT(StackArchive):
    """27 000 images of 64 px (Helber et al. 2019, doi:10.1109/JSTARS.2019.2918242), 13 bands, no Sentinel-1.

    Images lie in a folder of their class, AnnualCrop/AnnualCrop_1.tif, at any depth. The class is an image label: no
    pixel has one. Sentinel-2 is top-of-atmosphere (Level-1C), from before processing baseline 04.00. A place is a
    spatial block, for which the headers of all files are read: about a minute for the whole archive.
    """

    name = "EuroSAT, Sentinel-2 Level-1C"
    licence = "MIT"

    def __init__(self, folder: Path, bands: BandChoice | None = None) -> None:
        """Read the names and headers of all files.

        Args:
            folder: The folder above those of the classes.
            bands: What to read of each image.

        Raises:
            ArchiveInvalid: There is no image of any class.
        """
        files = [file for file in sorted(folder.rglob("*.tif")) if file.parent.name in CLASSES]
        if not files:
            reason = f"there is no folder of GeoTIFFs called {', '.join(CLASSES[:3])} or the like below it"
            raise ArchiveInvalid(str(folder), _KIND, reason)
        stacks = [Stack(s2=file, image_labels=(file.parent.name,)) for file in files]
        super().__init__({_entry(folder, stack): stack for stack in stacks}, LAYOUT, bands or BandChoice(), None)


def _entry(folder: Path, stack: Stack) -> Entry:
    footprint = footprint_of(stack)
    name = stack.s2.relative_to(folder).with_suffix("").as_posix()
    return Entry(name=name, place=place_of(footprint), footprint=footprint, files=stack.files, paired=False)
