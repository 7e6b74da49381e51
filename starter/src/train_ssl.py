"""Pretraining from `starter/`: `python -m src.train_ssl simclr --dataset breastmnist --model smallcnn`.

It is `medssl pretrain` under another name, and works from a clone whether or not medssl has been installed.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

try:
    from medssl.cli import main, pretrain
except ImportError as error:
    sys.exit(f"{error}.\nWhat to do: pip install -r requirements.txt, in the folder starter/")

if __name__ == "__main__":
    main(prog="python -m src.train_ssl", verb=pretrain)
