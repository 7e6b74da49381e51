"""What this package is called and where it lives: the one place that knows."""

VERSION = "0.1.0"

# Badges, clone lines and the set-up cell of every notebook are checked against this line (tests/test_notebooks.py).
REPOSITORY = "https://github.com/medmnist-ssl/medmnist-ssl"


def colab_url(notebook: str) -> str:
    """Address that opens `notebooks/<notebook>` in Colab."""
    owner_and_name = REPOSITORY.removeprefix("https://github.com/")
    return f"https://colab.research.google.com/github/{owner_and_name}/blob/main/notebooks/{notebook}"
