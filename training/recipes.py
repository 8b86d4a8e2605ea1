"""Recipes: the configurations that come with landsigma, by name."""

from pathlib import Path
from typing import Final

from contract.errors import ConfigInvalid
from training.config import TrainingConfig, read_config

RECIPES: Final = ("vdual-simclr", "dual-simclr", "vdual-simclr-patch")
SHELF: Final = Path(__file__).resolve().parent / "configs"


def find_config(name: str) -> TrainingConfig:
    """The configuration in a file, or the recipe of that name.

    Folders of archives are relative to the file; of a recipe, to the working directory.

    Raises:
        ConfigInvalid: It is neither, or cannot be used.
    """
    if name in RECIPES and not Path(name).is_file():
        return read_config(SHELF / f"{name}.toml", beside=Path.cwd())
    if not Path(name).is_file():
        raise ConfigInvalid(path=name, reason=f"neither a TOML file nor a recipe; the recipes are {', '.join(RECIPES)}")
    return read_config(Path(name))
