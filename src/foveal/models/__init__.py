"""Models by name: encoders now, language models from the next step on.

from foveal.models import load_encoder
vectors = load_encoder("minilm").encode(["where is sight sharpest?"])
"""

from foveal.models.encoders import load_encoder
from foveal.models.offline import OFFLINE, OfflineModel, installed

__all__ = ["OFFLINE", "OfflineModel", "installed", "load_encoder"]
