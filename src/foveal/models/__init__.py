"""Models by name: encoders that make vectors, language models that answer.

from foveal.models import load_chat, load_encoder
vectors = load_encoder("minilm").encode(["where is sight sharpest?"])
answer = load_chat("qwen2.5-coder-0.5b").chat([{"role": "user", "content": "Where is sight sharpest?"}])
"""

from foveal.models.chat import Cancel, ChatModel, Sampling
from foveal.models.chats import load_chat
from foveal.models.encoders import load_encoder
from foveal.models.language import LanguageModel, load_language_model
from foveal.models.offline import OFFLINE, OfflineModel, installed
from foveal.models.own_chat import OwnChat

__all__ = [
    "Cancel",
    "ChatModel",
    "LanguageModel",
    "OFFLINE",
    "OfflineModel",
    "OwnChat",
    "Sampling",
    "installed",
    "load_chat",
    "load_encoder",
    "load_language_model",
]
