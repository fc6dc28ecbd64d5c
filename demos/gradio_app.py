"""The demo page on the public API, to begin your own with: ``python demos/gradio_app.py``, then open the address.

The same page is ``mmpipe demo``, which has more options.
"""

from __future__ import annotations

import argparse

from mmpipe import MmpipeError
from mmpipe.demo import DemoOptions, run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=7860, help="port to listen on")
    given = parser.parse_args()
    try:
        run(DemoOptions(host=given.host, port=given.port), said=print)
    except MmpipeError as error:
        raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    main()
