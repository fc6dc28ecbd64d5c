"""Write the easy-VQA data set as the JSONL files that `mmpipe train fusion` reads.

    python tools/easy_vqa.py out/easy_vqa

The package easy-vqa 1.0 (MIT, https://github.com/vzhou842/easy-VQA) carries the pictures and the official split; it is
fetched with pip and unpacked, not installed. A fiftieth of the training pictures becomes the validation file.
"""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

PACKAGE = "easy-vqa==1.0"
VALIDATION_EVERY = 50


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), PACKAGE]
    subprocess.run(pip, check=True)
    wheel = next(folder.glob("easy_vqa-*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder, [name for name in archive.namelist() if name.startswith("easy_vqa/data/")])
    wheel.unlink()
    train = rows(folder, "train")
    held = [row for row in train if number(row) % VALIDATION_EVERY == 0]
    write(folder / "train.jsonl", [row for row in train if number(row) % VALIDATION_EVERY])
    write(folder / "validation.jsonl", held)
    write(folder / "test.jsonl", rows(folder, "test"))


def rows(folder: Path, split: str) -> list[dict[str, str]]:
    data = Path("easy_vqa/data") / split
    asked = json.loads((folder / data / "questions.json").read_text("utf-8"))
    return [
        {
            "image": str(data / "images" / f"{image}.png"),
            "question": question.capitalize(),
            "answer": answer.capitalize(),
        }
        for question, answer, image in asked
    ]


def number(row: dict[str, str]) -> int:
    return int(Path(row["image"]).stem)


def write(path: Path, rows: list[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
