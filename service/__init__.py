"""The HTTP side of landsigma."""
