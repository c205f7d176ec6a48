"""Train, evaluate, predict."""

from ris_lib.engine.config import TrainConfig
from ris_lib.engine.device import pick_device
from ris_lib.engine.estimate import Estimate, estimate
from ris_lib.engine.evaluate import EvalResult, evaluate
from ris_lib.engine.interrupt import Stopped
from ris_lib.engine.loader import StepBatches
from ris_lib.engine.predictor import Prediction, Predictor
from ris_lib.engine.run import load_run
from ris_lib.engine.shuffle import same_sentence, shuffle_sentences
from ris_lib.engine.train import train

__all__ = [
    "Estimate",
    "EvalResult",
    "Prediction",
    "Predictor",
    "StepBatches",
    "Stopped",
    "TrainConfig",
    "estimate",
    "evaluate",
    "load_run",
    "pick_device",
    "same_sentence",
    "shuffle_sentences",
    "train",
]
