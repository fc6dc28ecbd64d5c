"""The models in the software bill of materials are those of the manifest, file by file."""

from __future__ import annotations

import runpy
import tomllib
from pathlib import Path

from mmpipe.weights import manifest

TOOL = Path(__file__).parents[2] / "tools" / "sbom.py"


def test_every_file_of_every_model_is_listed_with_its_digest_and_license() -> None:
    model = runpy.run_path(str(TOOL))["model"]
    tables = tomllib.loads((Path(manifest.__file__).parent / "manifest.toml").read_text("utf-8"))
    for name, entry in manifest.entries().items():
        component = model(name, tables[name])
        digests = {file["name"]: file["hashes"][0]["content"] for file in component["components"]}
        assert digests == {file.name: file.sha256 for file in entry.files}
        (terms,) = component["licenses"]
        if entry.restrictions:
            assert terms["license"]["url"] == entry.restrictions.url
        else:
            assert terms["license"] == {"id": entry.license}
