"""From a request to rasters: scenes, grid, blocks, chips, model, Cloud-Optimized GeoTIFFs and a STAC item."""
