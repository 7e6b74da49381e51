"""Notebooks of a few cells, for tests of the runner."""

import json
from pathlib import Path

PARAMETERS = 'DATASET = "breastmnist"\nNAME = "your_name"\nSEEDS = 3\nLR = 1e-3\nFRACTIONS = (0.1, 1.0)\nFLIP = True\n'


def notebook(path: Path, *cells: str, parameters: str = PARAMETERS) -> Path:
    """Write a notebook: a title, the parameters cell, then one code cell for each text in `cells`."""

    def code(source, **metadata):
        return {"cell_type": "code", "metadata": metadata, "source": source, "outputs": [], "execution_count": None}

    title = {"cell_type": "markdown", "metadata": {}, "source": "# A notebook"}
    content = [title, code(parameters, tags=["parameters"]), *map(code, cells)]
    kernel = {"kernelspec": {"name": "somebody_elses_kernel", "display_name": "?", "language": "python"}}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"cells": content, "metadata": kernel, "nbformat": 4, "nbformat_minor": 4}))
    return path
