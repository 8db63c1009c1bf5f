"""The colorizers: tensor in, tensor out. `create_model(name, **config)` builds one, `list_models()` names them."""

from colorizer.models import (  # noqa: F401  (importing a file registers its models)
    cifar_autoencoder,
    classifier,
    eccv16,
    fusion,
    fusion_paper,
    lab_cnn,
    mnist,
    plain_autoencoder,
    two_stage,
    unet,
    wallner,
)
from colorizer.models.base import Colorizer, create_model, list_models, model_class

__all__ = ["Colorizer", "create_model", "list_models", "model_class"]
