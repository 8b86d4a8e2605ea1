"""From a request to scenes: which source, which items, what their numbers mean, how they are signed.

A source is a built-in name, the URL of a STAC API, the path or URL of a static catalogue (catalog.json, collection.json,
an item collection, stac-geoparquet), or a profile: a TOML file that says how someone else's items are to be read.

    # Relative paths start at this file. A STAC API, or any static catalogue.
    catalogue = "https://stac.example.org/v1"
    # Only where assets need the Planetary Computer's tokens.
    # signing = "planetary-computer"

    [s2]                                  # leave a sensor out if the source does not have it
    collections = ["sentinel-2-l2a"]
    [s2.assets]                           # our band = asset key of the item
    B02 = "blue"
    B03 = "green"
    B04 = "red"
    B08 = "nir"
    SCL = "scl"                           # without it, clouds are not masked

    [s1]                                  # terrain-corrected backscatter only
    collections = ["sentinel-1-rtc"]
    unit = "linear power"                 # or "dB"
    [s1.assets]
    VV = "vv"
    VH = "vh"

A URL or catalogue given without a profile is taken to use the Planetary Computer's collections and asset keys.
"""

from workers.sources.search import Found, find_scenes
from workers.sources.signing import Signer

__all__ = ["Found", "Signer", "find_scenes"]
