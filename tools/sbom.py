"""Add the models that mmpipe knows by name to a software bill of materials, and check the whole against its schema.

`make sbom` runs this in an environment of its own, in which mmpipe is not installed: the manifest is read as it lies.
"""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path
from typing import Any

MANIFEST = Path(__file__).parent.parent / "mmpipe" / "weights" / "manifest.toml"


def model(name: str, table: dict[str, Any]) -> dict[str, Any]:
    """A component for a model, with one for each of its files inside: a digest belongs to a file."""
    if restricted := table.get("restricted"):
        terms: dict[str, Any] = {"name": restricted["name"], "url": restricted["url"]}
    else:
        terms = {"id": table["license"]}
    return {
        "type": "machine-learning-model",
        "bom-ref": f"model:{name}",
        "name": name,
        "description": table["what"],
        "licenses": [{"license": terms}],
        "externalReferences": [{"type": "distribution", "url": table["upstream"]}],
        "properties": [{"name": "mmpipe:task", "value": table["task"]}],
        "components": [
            {
                "type": "file",
                "bom-ref": f"model:{name}/{file}",
                "name": file,
                "hashes": [{"alg": "SHA-256", "content": pin["sha256"]}],
                "properties": [{"name": "mmpipe:size_bytes", "value": str(pin["size_bytes"])}],
            }
            for file, pin in table["files"].items()
        ],
    }


def main(path: Path) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    bom = json.loads(path.read_text("utf-8"))
    models = [model(name, table) for name, table in tomllib.loads(MANIFEST.read_text("utf-8")).items()]
    known = {component["bom-ref"] for component in models}
    bom["components"] = [part for part in bom.get("components", []) if part.get("bom-ref") not in known] + models
    written = json.dumps(bom, indent=2, ensure_ascii=False)
    if wrong := JsonStrictValidator(SchemaVersion.from_version(bom["specVersion"])).validate_str(written):
        sys.exit(f"{path} is no valid CycloneDX {bom['specVersion']}: {wrong}")
    path.write_text(written + "\n", "utf-8")
    packages = len(bom["components"]) - len(models)
    sys.stderr.write(f"{path}: {packages} packages, {len(models)} models\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
