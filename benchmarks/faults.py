"""What a storm does to jobs: workers, Redis and the API are killed, and every message is delivered twice.

Three workers map jobs of ten and more blocks each while, every few seconds, one of them is killed; once Redis is killed and
comes back empty, and once the API is killed while jobs are submitted. The run fails when a job is lost, stuck or unsuccessful, when a
block counts twice, or when a raster differs from an undisturbed run's. Prints one JSON object of counts.
"""

import argparse
import json
import shutil
import tempfile
from pathlib import Path

from tests.storm import ride_out


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=20)
    parser.add_argument("--kill-every", type=float, default=5.0, metavar="S", help="mean seconds between two kills")
    parser.add_argument("--patience", type=float, default=1800.0, metavar="S", help="a job that takes longer is stuck")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    counts = ride_out(
        folder, seed=given.seed, jobs=given.jobs, kill_every_s=given.kill_every, patience_s=given.patience
    )
    print(json.dumps(counts, indent=2))
    shutil.rmtree(folder)  # after a failure, logs and rasters stay to be looked at


if __name__ == "__main__":
    main()
