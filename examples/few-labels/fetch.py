"""Write reviews-300.csv beside this file: 300 different reviews, 150 of each label, drawn with a fixed seed."""

import csv
import random
from pathlib import Path

from bakeoff import assets

PER_LABEL = 150


def main() -> None:
    """Draw the rows and write them."""
    source = assets.fetch("chinese-reviews") / "reviews.csv"
    with source.open(encoding="utf-8", newline="") as stream:
        labels: dict[str, set[str]] = {}
        for row in csv.DictReader(stream):
            labels.setdefault(" ".join(row["text"].split()), set()).add(row["label"])
    clean = {text: found.copy().pop() for text, found in labels.items() if len(found) == 1}
    draw = random.Random(0)
    rows = [
        (text, label)
        for label in sorted(set(clean.values()))
        for text in draw.sample(sorted(text for text, own in clean.items() if own == label), PER_LABEL)
    ]
    draw.shuffle(rows)
    target = Path(__file__).parent / "reviews-300.csv"
    with target.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["text", "label"])
        writer.writerows(rows)
    print(target)


if __name__ == "__main__":
    main()
