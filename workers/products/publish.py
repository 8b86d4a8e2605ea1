"""The products of a job, in the order in which they depend on each other."""

from collections.abc import Sequence
from pathlib import Path

from contract.grid import Window
from workers.products.preview import write_preview
from workers.products.product import Product
from workers.products.rasters import mosaic_to_cog
from workers.products.rat import write_rat
from workers.products.styles import write_styles


def write_products(folder: Path, product: Product, blocks: Sequence[tuple[Window, Path]]) -> tuple[Path, ...]:
    """Every product but the report and the STAC item, which name the checksums of these.

    Args:
        folder: Where to write.
        product: What the job made.
        blocks: Each block's window, and the folder with its rasters.

    Raises:
        OutputNotWritable: The disk is full or read-only.
    """
    rasters = write_cogs(folder, product, blocks)
    return (*rasters, write_rat(folder, product), *write_styles(folder, product), write_preview(folder, product))


def write_cogs(folder: Path, product: Product, blocks: Sequence[tuple[Window, Path]]) -> tuple[Path, ...]:
    """One COG for each raster of the job, named after it; see `write_products`."""
    paths = tuple(folder / f"{spec.name}.tif" for spec in product.specs)
    for spec, path in zip(product.specs, paths, strict=True):
        parts = [(window, block / path.name) for window, block in blocks]
        mosaic_to_cog(spec, parts, product.grid, path, attribution=product.attribution)
    return paths
