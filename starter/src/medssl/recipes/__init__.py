"""The few sentences everything is said in: data + method + trainer + evaluation."""

from medssl.models.export import encoder_of as load_encoder
from medssl.recipes.assess import assess, assessment_table, efficiency_curves
from medssl.recipes.baselines import Ladder, Pixels, ladder
from medssl.recipes.dino3d import PretrainedScans, pretrain_dino3d
from medssl.recipes.finetuning import finetune
from medssl.recipes.label_grid import every_run
from medssl.recipes.learners import MASKS, METHODS
from medssl.recipes.pretraining import Pretrained, pretrain, pretrain_seeds, watch_embeddings
from medssl.recipes.probing import FRACTIONS, Features, Grid, probe_grid
from medssl.recipes.supervised import (
    Scored,
    Trained,
    load_classifier,
    over_seeds,
    score,
    train_supervised,
    watch,
    weights_from,
)
from medssl.recipes.unet_mim import prepared, pretrain_unet_mim

__all__ = ["FRACTIONS", "Features", "Grid", "Ladder", "MASKS", "METHODS", "Pixels", "Pretrained", "PretrainedScans",
           "Scored", "Trained", "assess", "assessment_table", "efficiency_curves", "every_run", "finetune", "ladder",
           "load_classifier", "load_encoder", "over_seeds", "prepared", "pretrain", "pretrain_dino3d",
           "pretrain_seeds", "pretrain_unet_mim", "probe_grid", "score", "train_supervised", "watch",
           "watch_embeddings", "weights_from"]
