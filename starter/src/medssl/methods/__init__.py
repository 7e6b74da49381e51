"""Ways of learning: each a module with forward(batch) -> {"loss", ...} and encode(images) -> features."""

from medssl.methods.dino3d import DINO3D
from medssl.methods.jepa import VJEPA, MaskedJEPA
from medssl.methods.lejepa import LeJEPA
from medssl.methods.moco import MoCo
from medssl.methods.prism import Prism
from medssl.methods.seedjepa import SeedJEPA
from medssl.methods.simclr import SimCLR
from medssl.methods.supervised import Supervised
from medssl.methods.unet_mim import UNetMIM

__all__ = ["DINO3D", "VJEPA", "LeJEPA", "MaskedJEPA", "MoCo", "Prism", "SeedJEPA", "SimCLR", "Supervised", "UNetMIM"]
