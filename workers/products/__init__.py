"""What a job publishes: Cloud-Optimized GeoTIFFs, their tables and styles, a preview and a STAC item."""
