"""The command line of landsigma. Each command imports its own folder only when it is called."""

from landsigma.entry import main
from landsigma.places import shelves

__all__ = ["main", "shelves"]
