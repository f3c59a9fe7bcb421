"""Small data sets, written as the real ones are: names, shapes, types and headers."""

import csv
import gzip
import json
import struct
from pathlib import Path

import numpy as np
from PIL import Image

RNG = np.random.default_rng(3)
SIDE = 4
TRAIN = RNG.integers(0, 256, (12, SIDE, SIDE), np.uint8), (np.arange(12) % 3).astype(np.uint8)
VALIDATION = RNG.integers(0, 256, (5, SIDE, SIDE), np.uint8), np.array([2, 1, 0, 2, 1], np.uint8)
TEST = RNG.integers(0, 256, (6, SIDE, SIDE), np.uint8), np.array([1, 0, 2, 2, 1, 0], np.uint8)


def coloured(images):
    """Images [n, h, w] as [n, h, w, 3], of three different channels."""
    return np.stack([images, 255 - images, images // 2], -1)


def idx(path: Path, array, code=8, dtype=">u1") -> None:
    """An IDX file; gzipped if the name says so."""
    head = bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    data = head + np.ascontiguousarray(array).astype(dtype).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def kaggle(folder: Path, train="train.csv", test="test.csv", header="pixel{}", labelled=False):
    """Digit-recognizer's tables; test.csv has no label unless asked for."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [header.format(n) for n in range(SIDE * SIDE)] if header else None
    for name, (images, labels) in ((train, TRAIN), (test, TEST)):
        with_label = name == train or labelled
        with (folder / name).open("w", newline="") as file:
            writer = csv.writer(file)
            if names:
                writer.writerow([*(["label"] if with_label else []), *names])
            for image, label in zip(images, labels, strict=True):
                writer.writerow([*([label] if with_label else []), *image.ravel()])
    (folder / "sample_submission.csv").write_text("ImageId,Label\n1,0\n")


def pictures(folder: Path, images, labels, names, suffix=".png") -> None:
    """A folder for each class, as mnist_png has it."""
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        place = folder / names[label]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{number}{suffix}")


def parquet(path: Path, images, labels, names=None, column="image") -> None:
    """A file as Hugging Face's datasets library writes it: PNG bytes and integer labels."""
    import io

    import pyarrow
    import pyarrow.parquet

    rows = []
    for number, image in enumerate(images):
        file = io.BytesIO()
        Image.fromarray(image).save(file, "PNG")
        rows.append({"bytes": file.getvalue(), "path": f"{number}.png"})
    columns = {column: rows}
    features = {column: {"_type": "Image"}}
    if labels is not None:
        columns["label"] = labels.astype(int).tolist()
        features["label"] = {"names": names, "_type": "ClassLabel"} if names else {"_type": "Value"}
    table = pyarrow.table(columns)
    metadata = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(table.replace_schema_metadata(metadata), path)
