"""What a graph eats: each sensor's bands in physical units, and a validity plane beside them."""

from typing import Final

from contract.bands import Modality, Unit
from contract.bundle import ModelInput


def sentinel2_input(bands: tuple[str, ...]) -> ModelInput:
    """Surface reflectance."""
    return ModelInput(modality=Modality.S2, name="s2", validity="s2_valid", bands=bands, unit=Unit.REFLECTANCE)


def sentinel1_input(bands: tuple[str, ...]) -> ModelInput:
    """Backscatter in dB."""
    return ModelInput(modality=Modality.S1, name="s1", validity="s1_valid", bands=bands, unit=Unit.DECIBEL)


SENTINEL2_INPUT: Final = sentinel2_input(("B02", "B03", "B04", "B08"))
SENTINEL1_INPUT: Final = sentinel1_input(("VV", "VH"))
