"""The provider-neutral core: vocabulary, protocols, streaming lifecycle, factory."""

from .cancellation import CancellationToken, CancelledError
from .errors import AllCandidatesFailed, ErrorCode, ProviderError, StreamInterrupted
from .events import ChatStreamEvent, StreamFolder, ToolCallDelta, fold
from .factory import ProviderFactory
from .interfaces import (
    HasDefaultModel,
    LLMProvider,
    ModelListingProvider,
    SupportsJSONOutput,
    SupportsResponsesAPI,
    SupportsStreaming,
)
from .logging import LogContext, get_logger
from .models import (
    ChatRequest,
    ChatResponse,
    ContentPart,
    Message,
    ModelInfo,
    ModelRegistrySnapshot,
    ProviderMetadata,
    Tool,
    ToolCall,
    Usage,
)
from .provider import BaseOpenAIStyleProvider, BaseProvider
from .retry import RetryConfig
from .streaming_adapter import (
    AsyncBaseStreamingAdapter,
    AsyncStreamController,
    BaseStreamingAdapter,
    StreamController,
)
from .timeouts import TimeoutConfig, get_timeout_config, operation_timeout

__all__ = [
    "AllCandidatesFailed",
    "AsyncBaseStreamingAdapter",
    "AsyncStreamController",
    "BaseOpenAIStyleProvider",
    "BaseProvider",
    "BaseStreamingAdapter",
    "CancellationToken",
    "CancelledError",
    "ChatRequest",
    "ChatResponse",
    "ChatStreamEvent",
    "ContentPart",
    "ErrorCode",
    "HasDefaultModel",
    "LLMProvider",
    "LogContext",
    "Message",
    "ModelInfo",
    "ModelListingProvider",
    "ModelRegistrySnapshot",
    "ProviderError",
    "ProviderFactory",
    "ProviderMetadata",
    "RetryConfig",
    "StreamController",
    "StreamFolder",
    "StreamInterrupted",
    "SupportsJSONOutput",
    "SupportsResponsesAPI",
    "SupportsStreaming",
    "TimeoutConfig",
    "Tool",
    "ToolCall",
    "ToolCallDelta",
    "Usage",
    "fold",
    "get_logger",
    "get_timeout_config",
    "operation_timeout",
]
