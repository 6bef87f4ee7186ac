"""What an agent is: the part of Rubato that authors write against."""

from .agent import Agent
from .artifacts import Artifact
from .batching import batched
from .context import Context, Mode
from .errors import (
    ChildFailed,
    MemoryConflict,
    NeedsBackground,
    Permanent,
    Retryable,
    RubatoError,
    SignalTimeout,
    StepOutcomeUnknown,
)
from .events import Progress, TextDelta, ToolCall
from .policies import Background, Realtime, Retry
from .resources import Resources

__all__ = [
    "Agent",
    "Artifact",
    "Background",
    "ChildFailed",
    "Context",
    "MemoryConflict",
    "Mode",
    "NeedsBackground",
    "Permanent",
    "Progress",
    "Realtime",
    "Resources",
    "Retry",
    "Retryable",
    "RubatoError",
    "SignalTimeout",
    "StepOutcomeUnknown",
    "TextDelta",
    "ToolCall",
    "batched",
]
